package identity

import (
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	// MaxAttestationTTL is the longest lifetime that a verifier accepts, inclusive.
	MaxAttestationTTL = 24 * time.Hour

	// DefaultAttestationTTL is the lifetime of the attestations that clients make, a
	// fresh one for every connection.
	DefaultAttestationTTL = 12 * time.Hour
)

var (
	// ErrAttestationMismatch is returned for an attestation whose keys differ from
	// the claimed ones.
	ErrAttestationMismatch = errors.New("attestation does not bind the claimed session and member keys")

	// ErrExpired is returned for an attestation at or after its expiry.
	ErrExpired = errors.New("attestation has expired")

	// ErrTTLTooLong is returned for an attestation that expires later than
	// MaxAttestationTTL from now.
	ErrTTLTooLong = errors.New("attestation expires more than 24 h from now")
)

// Attestation is a member's signed statement that a session key is its own until
// ExpiresAt.
type Attestation struct {
	SessionPubkey      wire.Key
	ParentMemberPubkey wire.Key
	ExpiresAt          int64 // Unix milliseconds
	Signature          wire.Signature
}

// Attest returns member's attestation of the session key until expiresAt, truncated
// to milliseconds.
func Attest(member KeyPair, session wire.Key, expiresAt time.Time) Attestation {
	a := Attestation{
		SessionPubkey:      session,
		ParentMemberPubkey: member.Public(),
		ExpiresAt:          expiresAt.UnixMilli(),
	}
	a.Signature = member.Sign(a.signingText())
	return a
}

// Binds returns ErrAttestationMismatch unless a is about exactly these keys. It doesn't
// check that a is valid.
func (a Attestation) Binds(member, session wire.Key) error {
	if a.ParentMemberPubkey != member || a.SessionPubkey != session {
		return ErrAttestationMismatch
	}
	return nil
}

// Verify checks that now < ExpiresAt ≤ now + MaxAttestationTTL and that the signature
// is valid. It returns the first of ErrExpired, ErrTTLTooLong and ErrBadSignature that
// applies.
func (a Attestation) Verify(now time.Time) error {
	ms := now.UnixMilli()
	if a.ExpiresAt <= ms {
		return ErrExpired
	}
	if a.ExpiresAt > ms+MaxAttestationTTL.Milliseconds() {
		return ErrTTLTooLong
	}
	if !Verify(a.ParentMemberPubkey, a.signingText(), a.Signature) {
		return ErrBadSignature
	}
	return nil
}

func (a Attestation) signingText() string {
	return wire.AttestationSigningText(a.ParentMemberPubkey, a.SessionPubkey, a.ExpiresAt)
}
