package identity

import (
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// MaxSkew is the maximum difference between the timestamp of a hello and the
// verifier's clock, in either direction, inclusive; see SPEC.md, section 2.
const MaxSkew = 60 * time.Second

var (
	// ErrTimestampSkew is returned for a hello whose timestamp is further than
	// MaxSkew from now.
	ErrTimestampSkew = errors.New("timestamp differs from the broker's clock by more than 60 s")

	// ErrBadSignature is returned when a signature isn't the named key's signature
	// of the claimed text.
	ErrBadSignature = errors.New("signature does not verify")
)

// SignHello signs a member's hello at now. The hello carries the timestamp, in Unix
// milliseconds, and the signature.
func SignHello(member KeyPair, meshID, memberID string, now time.Time) (timestamp int64, sig wire.Signature) {
	timestamp = now.UnixMilli()
	return timestamp, member.Sign(wire.HelloSigningText(meshID, memberID, member.Public().String(), timestamp))
}

// VerifyHello checks that pubkey signed this hello within MaxSkew of now. It returns
// ErrTimestampSkew or, if the timestamp is right, ErrBadSignature. The caller checks
// that pubkey is a member and that the hello isn't a replay (ReplayGuard).
func VerifyHello(meshID, memberID string, pubkey wire.Key, timestamp int64, sig wire.Signature, now time.Time) error {
	text := wire.HelloSigningText(meshID, memberID, pubkey.String(), timestamp)
	return verifyAt(pubkey, text, timestamp, sig, now)
}

// SignSessionHello signs a session's hello at now. member is the key that vouches for
// the session. The timestamp is in Unix milliseconds.
func SignSessionHello(session KeyPair, meshID string, member wire.Key, now time.Time) (timestamp int64, sig wire.Signature) {
	timestamp = now.UnixMilli()
	return timestamp, session.Sign(wire.SessionHelloSigningText(meshID, member, session.Public(), timestamp))
}

// VerifySessionHello checks that the session key signed this hello within
// MaxSkew of now. It returns ErrTimestampSkew or, if the timestamp is right,
// ErrBadSignature. The Attestation proves that the member vouches for the session.
func VerifySessionHello(meshID string, member, session wire.Key, timestamp int64, sig wire.Signature, now time.Time) error {
	text := wire.SessionHelloSigningText(meshID, member, session, timestamp)
	return verifyAt(session, text, timestamp, sig, now)
}

func verifyAt(key wire.Key, text string, timestamp int64, sig wire.Signature, now time.Time) error {
	ms := now.UnixMilli()
	if timestamp < ms-MaxSkew.Milliseconds() || timestamp > ms+MaxSkew.Milliseconds() {
		return ErrTimestampSkew
	}
	if !Verify(key, text, sig) {
		return ErrBadSignature
	}
	return nil
}
