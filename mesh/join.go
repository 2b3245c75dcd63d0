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

// Joined is the result of a join or claim.
type Joined struct {
	Mesh          Mesh
	Member        *Member
	InviteID      wire.ID
	AlreadyMember bool // the key belonged to a member before; the invite was not used
}

// Join turns the holder of a v1 token into a member. A client sends either the token,
// optionally with its payload, or only the token's proof. Join checks the owner's
// signature in the token. A client that sends only the proof keeps the mesh key in the
// token to itself; Join needs no signature then, since the owner registered the token
// that the proof belongs to.
//
// Refusals come in the order of SPEC.md, section 11: malformed for a bad peer_pubkey
// or body; then invite_bad_signature, mesh_not_found, invite_owner_mismatch,
// invite_not_found, invite_mesh_mismatch; forbidden for the key of a removed member;
// invite_revoked, invite_expired, invite_exhausted. For a proof, which v1 clients never
// send, also CodeBadName and CodeNameTaken.
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

// token finds the invite for a join.
func (d *Directory) token(ctx context.Context, j wire.Join) (Invite, error) {
	if j.TokenProof != "" {
		proof, err := parseProof(j.TokenProof)
		if err != nil {
			return Invite{}, refuse(wire.CodeMalformed, "token_proof %s", err)
		}
		if j.InviteToken != "" || j.InvitePayload != nil {
			return Invite{}, refuse(wire.CodeMalformed, "send either token_proof or invite_token, not both")
		}
		return d.tokenByProof(ctx, proof)
	}
	if j.InviteToken == "" {
		return Invite{}, refuse(wire.CodeMalformed, "invite_token or token_proof is required")
	}
	p, ok := openToken(j.InviteToken)
	if !ok || j.InvitePayload != nil && *j.InvitePayload != p {
		return Invite{}, refuse(codeInviteBadSignature, "the invite isn't signed by its owner")
	}
	// A malformed id can't be the id of a mesh of ours.
	meshID, err := wire.ParseID(p.MeshID)
	if err != nil {
		return Invite{}, refuseFor(codeMeshNotFound, ErrMeshNotFound)
	}
	v, err := d.Get(ctx, meshID)
	if err != nil {
		return Invite{}, translate(err, joinCodes)
	}
	if v.mesh.Owner.String() != p.OwnerPubkey {
		return Invite{}, refuse(codeInviteOwnerMismatch, "the invite isn't signed by the owner of its mesh")
	}
	inv, err := d.tokenByProof(ctx, sha256.Sum256([]byte(j.InviteToken)))
	if err != nil {
		return Invite{}, err
	}
	if inv.MeshID != meshID {
		return Invite{}, refuse(codeInviteMeshMismatch, "the invite belongs to another mesh")
	}
	// The signed and the registered expiry may differ: the earlier one counts.
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

// openToken reads a v1 token and reports whether the owner that it names signed it.
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

// redeem uses the invite for a new member with the Key and DisplayName of m. If a member
// has the key already, redeem returns that member, whatever the state of the invite. If
// unique is set, it refuses the name of another member with CodeNameTaken. Other errors
// are ErrRemoved, ErrInviteRevoked, ErrInviteExpired and ErrInviteExhausted.
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
			return Joined{}, refuse(CodeNameTaken, "the name %s is the same as, or looks like, the name of the member whose key begins with %s",
				strconv.Quote(m.DisplayName), bearer.Key.Short())
		}
		m.ID = d.ids.New(now)
		m.MeshID = inv.MeshID
		m.Role = inv.Role
		m.Groups = inv.Groups
		m.JoinedAt = stamp(now)
		stored, existed, err := d.store.Redeem(ctx, inv.ID, m)
		if v.checkedLocked(err) != nil {
			return Joined{}, fmt.Errorf("redeem invite: %w", err)
		}
		joined.Member, joined.AlreadyMember = v.putLocked(stored), existed
	}
	if joined.Member.Removed() {
		return Joined{}, ErrRemoved
	}
	return joined, nil
}
