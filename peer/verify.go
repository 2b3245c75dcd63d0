package peer

import (
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// These doubts say why a message or a row of the roster is not verified.
const (
	doubtUnopened       = "it could not be opened"
	doubtPlain          = "it came unencrypted: anybody on the way may have written it"
	doubtUnsigned       = "the sender has not signed it: any member of the mesh may have written it"
	doubtSignature      = "the signature in it is not the sender's"
	doubtNoAttestation  = "no member vouches for the key"
	doubtBadAttestation = "the member's signature for the key is not valid"
	doubtOtherMember    = "the broker names another member than the one that vouches for the key"
	doubtExpired        = "the member's signature for the key has expired"
	doubtUnknownKey     = "nobody in the roster has this key"
)

// DoubtNoName is the doubt about a name that alike.Mistaken rejects.
const DoubtNoName = "the name may be taken for a key, a group or nothing"

// VerifyRow reports whether the key in a row of the roster belongs to its member: it is
// the member key itself, or a session key that the member attests. If it does not, doubt
// says why. Everything else in a row, including the name, is only what the broker says;
// for names see inbox.Contacts.
func VerifyRow(row *wire.PeerRow, now time.Time) (verified bool, doubt string) {
	_, doubt = vouched(row.Pubkey, row.MemberPubkey, row.Attestation, now)
	return doubt == "", doubt
}

// proven returns the member that attests the key of a row. The attestation of a session
// that has been connected for long may have expired.
func proven(row *wire.PeerRow, now time.Time) wire.Key {
	if row.Attestation != nil {
		now = earlier(now, time.UnixMilli(row.Attestation.ExpiresAt-1))
	}
	member, _ := vouched(row.Pubkey, row.MemberPubkey, row.Attestation, now)
	return member
}

// vouched returns the member that attests a key at a given time, or why no member is
// proven. claimed is the member that the broker names, or zero.
func vouched(key, claimed wire.Key, attestation *wire.Attestation, at time.Time) (member wire.Key, doubt string) {
	if key == claimed {
		return key, ""
	}
	if attestation == nil {
		return wire.Key{}, doubtNoAttestation
	}
	a, err := parseAttestation(attestation)
	if err != nil || a.SessionPubkey != key {
		return wire.Key{}, doubtBadAttestation
	}
	if !claimed.IsZero() && a.ParentMemberPubkey != claimed {
		return wire.Key{}, doubtOtherMember
	}
	switch err := verifyAround(&a, at); {
	case errors.Is(err, identity.ErrExpired):
		return wire.Key{}, doubtExpired
	case err != nil:
		return wire.Key{}, doubtBadAttestation
	}
	return a.ParentMemberPubkey, ""
}

func parseAttestation(w *wire.Attestation) (a identity.Attestation, err error) {
	a.ExpiresAt = w.ExpiresAt
	if a.SessionPubkey, err = wire.ParseKey(w.SessionPubkey); err != nil {
		return a, err
	}
	if a.ParentMemberPubkey, err = wire.ParseKey(w.ParentMemberPubkey); err != nil {
		return a, err
	}
	a.Signature, err = wire.ParseSignature(w.Signature)
	return a, err
}

// verifyAround verifies an attestation at a time that was read from another clock than the
// signer's.
func verifyAround(a *identity.Attestation, at time.Time) error {
	err := a.Verify(at)
	switch {
	case errors.Is(err, identity.ErrExpired):
		return a.Verify(at.Add(-identity.MaxSkew))
	case errors.Is(err, identity.ErrTTLTooLong):
		return a.Verify(at.Add(identity.MaxSkew))
	}
	return err
}
