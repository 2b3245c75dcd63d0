package mesh

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Claim turns the holder of an invite link into a member. The claim names the member
// key. The claim key from the link's fragment signs it within 60 s of now. The same
// member key may claim again and gets the same answer.
//
// Claim refuses a v1 claim, which has only an x25519 key: a v1 client needs the mesh
// key sealed for that key, and the broker doesn't have the mesh key.
//
// Refusals: malformed, CodeBadName, not_found, timestamp_skew, bad_signature, forbidden
// (the key of a removed member), revoked, expired, exhausted, CodeNameTaken; for a v1
// claim: malformed, not_found, revoked, expired, exhausted, CodeV1Claim.
func (d *Directory) Claim(ctx context.Context, code string, c wire.Claim, now time.Time) (wire.ClaimResult, Joined, error) {
	m, sig, err := readClaim(c)
	if err != nil {
		return wire.ClaimResult{}, Joined{}, err
	}
	inv, v, err := d.link(ctx, code)
	if err != nil {
		return wire.ClaimResult{}, Joined{}, err
	}
	if m.Key.IsZero() {
		if err := v.usable(inv, now); err != nil {
			return wire.ClaimResult{}, Joined{}, translate(err, claimCodes)
		}
		return wire.ClaimResult{}, Joined{}, refuse(CodeV1Claim, "this invite link doesn't work with your client: "+
			"ask the inviter for a v1 link (claudemesh invite --format v1), or install the claudemesh client that the link's page shows")
	}
	if err := checkSigned(inv.ClaimKey, wire.ClaimSigningText(code, m.Key, c.Timestamp), c.Timestamp, sig, now); err != nil {
		return wire.ClaimResult{}, Joined{}, err
	}
	joined, err := d.redeem(ctx, inv, m, true, now)
	if err != nil {
		return wire.ClaimResult{}, Joined{}, translate(err, claimCodes)
	}
	owner := v.mesh.Owner
	return wire.ClaimResult{
		SealedRootKey: inv.SealedRootKey,
		MeshID:        v.mesh.ID,
		MemberID:      joined.Member.ID,
		OwnerPubkey:   owner,
		CanonicalV2:   wire.InviteV2SigningText(v.mesh.ID.String(), inv.ID.String(), inv.ExpiresAt.Unix(), string(inv.Role), owner.String()),
		MeshSlug:      v.mesh.Slug,
		MeshName:      v.mesh.Name,
		Role:          string(joined.Member.Role),
		AlreadyMember: joined.AlreadyMember,
	}, joined, nil
}

// readClaim reads a claim in either form. The member has no key if it is a v1 claim.
func readClaim(c wire.Claim) (Member, wire.Signature, error) {
	var sig wire.Signature
	ours := c.PeerPubkey != "" || c.Signature != "" || c.Timestamp != 0
	if ours == (c.RecipientX25519 != "") {
		return Member{}, sig, refuse(wire.CodeMalformed, "a claim has either peer_pubkey, timestamp and signature, or recipient_x25519_pubkey")
	}
	if !ours {
		x, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(c.RecipientX25519, "="))
		if err != nil || len(x) != wire.KeySize {
			return Member{}, sig, refuse(wire.CodeMalformed, "recipient_x25519_pubkey must be %d bytes of base64url", wire.KeySize)
		}
		return Member{}, sig, nil
	}
	key, err := parseKey("peer_pubkey", c.PeerPubkey)
	if err != nil {
		return Member{}, sig, err
	}
	if sig, err = wire.ParseSignature(c.Signature); err != nil {
		return Member{}, sig, refuse(wire.CodeMalformed, "signature %s", err)
	}
	name, err := newName(c.DisplayName, "peer-"+key.Short())
	return Member{Key: key, DisplayName: name}, sig, err
}
