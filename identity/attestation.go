package identity

import (
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	// MaxAttestationTTL is the longest life that a verifier accepts, inclusive.
	MaxAttestationTTL = 24 * time.Hour

	// DefaultAttestationTTL is the life that clients give an attestation. They
	// make a fresh one for every connection.
	DefaultAttestationTTL = 12 * time.Hour
)

var (
	// ErrAttestationMismatch is returned for an attestation of other keys than
	// those it is presented for.
	ErrAttestationMismatch = errors.New("attestation does not bind the claimed session and member keys")

	// ErrExpired is returned for an attestation at or after its end.
	ErrExpired = errors.New("attestation has expired")

	// ErrTTLTooLong is returned for an attestation that ends later than
	// MaxAttestationTTL from now.
	ErrTTLTooLong = errors.New("attestation lives longer than 24 h")
)

// Attestation is a member's signed word that a session key is its own until
// ExpiresAt.
type Attestation struct {
	SessionPubkey      wire.Key
	ParentMemberPubkey wire.Key
	ExpiresAt          int64 // Unix milliseconds
	Signature          wire.Signature
}

// Attest makes member's attestation of the session key until expiresAt, cut to
// milliseconds.
func Attest(member KeyPair, session wire.Key, expiresAt time.Time) Attestation {
	a := Attestation{
		SessionPubkey:      session,
		ParentMemberPubkey: member.Public(),
		ExpiresAt:          expiresAt.UnixMilli(),
	}
	a.Signature = member.Sign(a.signingText())
	return a
}

// Binds checks that a is about exactly these keys; it fails with
// ErrAttestationMismatch. It says nothing about whether a is valid.
func (a Attestation) Binds(member, session wire.Key) error {
	if a.ParentMemberPubkey != member || a.SessionPubkey != session {
		return ErrAttestationMismatch
	}
	return nil
}

// Verify checks that a is signed and that now < ExpiresAt ≤ now +
// MaxAttestationTTL. It fails with ErrExpired, ErrTTLTooLong or
// ErrBadSignature, the first that applies in this order.
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
