package mesh

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// Joined is how a join or claim ended.
type Joined struct {
	Mesh          Mesh
	Member        *Member
	InviteID      wire.ID
	AlreadyMember bool // the key was a member's before, and no use of the invite was taken
}

// Join makes the holder of a v1 token a member. It takes the token, with or
// without its payload beside it, whose signature by the owner it then checks; or
// the token's proof alone, by which a client keeps the mesh key in the token to
// itself. Whoever knows the proof knows a token that the owner registered, so
// there the signature would tell nothing more.
//
// Refusals come in the order of protocol v1, section 6: malformed for a bad
// peer_pubkey or body; then invite_bad_signature, mesh_not_found,
// invite_owner_mismatch, invite_not_found, invite_mesh_mismatch; forbidden for
// the key of a removed member; invite_revoked, invite_expired,
// invite_exhausted. Of a proof alone, which clients of protocol v1 do not send, also
// CodeBadName and CodeNameTaken.
func (d *Directory) Join(ctx context.Context, j wire.Join, now time.Time) (Joined, error) {
	key, err := parseKey("peer_pubkey", j.PeerPubkey)
	if err != nil {
		return Joined{}, err
	}
	inv, err := d.token(ctx, j)
	if err != nil {
		return Joined{}, err
	}
	m := Member{Key: key, DisplayName: cleanName(j.DisplayName, "peer-"+key.Short())}
	ours := j.TokenProof != ""
	if ours {
		if m.DisplayName, err = newName(j.DisplayName, m.DisplayName); err != nil {
			return Joined{}, err
		}
	}
	joined, err := d.redeem(ctx, inv, m, ours, now)
	return joined, translate(err, joinCodes)
}

// token finds the invite that a join shows.
func (d *Directory) token(ctx context.Context, j wire.Join) (Invite, error) {
	if j.TokenProof != "" {
		proof, err := parseProof(j.TokenProof)
		if err != nil {
			return Invite{}, refuse(wire.CodeMalformed, "token_proof %s", err)
		}
		if j.InviteToken != "" || j.InvitePayload != nil {
			return Invite{}, refuse(wire.CodeMalformed, "token_proof stands alone")
		}
		return d.tokenByProof(ctx, proof)
	}
	if j.InviteToken == "" {
		return Invite{}, refuse(wire.CodeMalformed, "invite_token or token_proof required")
	}
	p, ok := openToken(j.InviteToken)
	if !ok || j.InvitePayload != nil && *j.InvitePayload != p {
		return Invite{}, refuse(CodeInviteBadSignature, "invite does not carry its owner's signature")
	}
	// An id that is none of ours is the id of no mesh of ours.
	meshID, err := wire.ParseID(p.MeshID)
	if err != nil {
		return Invite{}, refuseFor(CodeMeshNotFound, ErrMeshNotFound)
	}
	v, err := d.Get(ctx, meshID)
	if err != nil {
		return Invite{}, translate(err, joinCodes)
	}
	if v.mesh.Owner.String() != p.OwnerPubkey {
		return Invite{}, refuse(CodeInviteOwnerMismatch, "invite is not signed by the owner of its mesh")
	}
	inv, err := d.tokenByProof(ctx, sha256.Sum256([]byte(j.InviteToken)))
	if err != nil {
		return Invite{}, err
	}
	if inv.MeshID != meshID {
		return Invite{}, refuse(CodeInviteMeshMismatch, "invite is registered for another mesh")
	}
	// What the owner signed and what was registered may differ: the earlier end counts.
	if p.ExpiresAt < inv.ExpiresAt.Unix() {
		inv.ExpiresAt = time.Unix(p.ExpiresAt, 0).UTC()
	}
	return inv, nil
}

func (d *Directory) tokenByProof(ctx context.Context, proof [sha256.Size]byte) (Invite, error) {
	inv, err := d.store.InviteByToken(ctx, hashProof(proof))
	if err != nil {
		return Invite{}, translate(fmt.Errorf("find invite: %w", err), joinCodes)
	}
	return inv, nil
}

// openToken reads a v1 token and reports whether it is one that carries a
// signature by the owner whom it names.
func openToken(token string) (wire.InviteV1, bool) {
	var p wire.InviteV1
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || json.Unmarshal(text, &p) != nil || p.V != 1 {
		return p, false
	}
	owner, err := wire.ParseKey(p.OwnerPubkey)
	if err != nil {
		return p, false
	}
	sig, err := wire.ParseSignature(p.Signature)
	return p, err == nil && identity.Verify(owner, p.SigningText(), sig)
}

// redeem uses the invite for m, of which it takes Key and DisplayName. A key that is a
// member's already stays that member's, whatever became of the invite. With unique, a
// name that another member bears is refused. It fails with ErrRemoved, ErrInviteRevoked,
// ErrInviteExpired, ErrInviteExhausted, or refuses with CodeNameTaken.
func (d *Directory) redeem(ctx context.Context, inv Invite, m Member, unique bool, now time.Time) (Joined, error) {
	v, err := d.lock(ctx, inv.MeshID)
	if err != nil {
		return Joined{}, err
	}
	defer v.unlock()
	joined := Joined{Mesh: v.mesh, InviteID: inv.ID}
	if known, ok := v.Member(m.Key); ok {
		joined.Member, joined.AlreadyMember = known, true
	} else {
		if err := v.usable(inv, now); err != nil {
			return Joined{}, err
		}
		if v.size() >= d.limit() {
			return Joined{}, ErrFull
		}
		if bearer := v.bearer(m.DisplayName); unique && bearer != nil {
			return Joined{}, refuse(CodeNameTaken, "%s is the name of a member already, whose key begins with %s, or looks like it",
				strconv.Quote(m.DisplayName), bearer.Key.Short())
		}
		m.ID = d.ids.New(now)
		m.MeshID = inv.MeshID
		m.Role = inv.Role
		m.Groups = inv.Groups
		m.JoinedAt = stamp(now)
		stored, existed, err := d.store.Redeem(ctx, inv.ID, m)
		if v.checked(err) != nil {
			return Joined{}, fmt.Errorf("redeem invite: %w", err)
		}
		joined.Member, joined.AlreadyMember = v.put(stored), existed
	}
	if joined.Member.Removed() {
		return Joined{}, ErrRemoved
	}
	return joined, nil
}
