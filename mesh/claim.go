package mesh

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// BindWindow is how long after a v1 claim the first hello may bind a key
// (protocol v1, section 6).
const BindWindow = 10 * time.Minute

// Claim makes somebody who opened an invite link a member. A claim comes in two
// shapes:
//
//   - Ours names the member key and is signed, within 60 s of now, by the claim
//     key from the link's fragment. The member is bound at once. The same key may
//     claim again and gets the same answer.
//   - That of v1 clients shows nothing but an x25519 key. It makes a member
//     without a key, which the first hello within BindWindow may bind, and is
//     good only for invites of normal members, because it proves only that the
//     code is known. The x25519 key goes unused: the broker does not have the
//     mesh key and can seal it for nobody.
//
// Refusals: malformed, not_found, timestamp_skew, bad_signature, forbidden (the
// key of a removed member), revoked, expired, exhausted.
func (d *Directory) Claim(ctx context.Context, code string, c wire.Claim, now time.Time) (wire.ClaimResult, Joined, error) {
	m, sig, err := readClaim(c)
	if err != nil {
		return wire.ClaimResult{}, Joined{}, err
	}
	inv, v, err := d.link(ctx, code)
	if err != nil {
		return wire.ClaimResult{}, Joined{}, err
	}
	switch {
	case !m.Key.IsZero():
		err = checkSigned(inv.ClaimKey, wire.ClaimSigningText(code, m.Key, c.Timestamp), c.Timestamp, sig, now)
	case inv.Role != Normal:
		err = refuse(wire.CodeBadSignature, "an invite for %ss must be claimed with the link's own key", inv.Role)
	default:
		m.BindBefore = stamp(now).Add(BindWindow)
	}
	if err != nil {
		return wire.ClaimResult{}, Joined{}, err
	}
	joined, err := d.redeem(ctx, inv, m, now)
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

// readClaim tells the shapes apart: the member has a key in ours, none in v1's.
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
		return Member{DisplayName: cleanName(c.DisplayName, "")}, sig, nil
	}
	key, err := parseKey("peer_pubkey", c.PeerPubkey)
	if err != nil {
		return Member{}, sig, err
	}
	if sig, err = wire.ParseSignature(c.Signature); err != nil {
		return Member{}, sig, refuse(wire.CodeMalformed, "signature %s", err)
	}
	return Member{Key: key, DisplayName: cleanName(c.DisplayName, "peer-"+key.Short())}, sig, nil
}
