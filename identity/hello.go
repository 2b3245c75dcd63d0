package identity

import (
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// MaxSkew is by how much the timestamp of a hello may differ from the
// verifier's clock in either direction, inclusive (protocol v1, section 1).
const MaxSkew = 60 * time.Second

var (
	// ErrTimestampSkew is returned for a hello whose timestamp is further than
	// MaxSkew from now.
	ErrTimestampSkew = errors.New("timestamp differs from the clock by more than 60 s")

	// ErrBadSignature is returned when a signature is not the named key's
	// signature of what is claimed.
	ErrBadSignature = errors.New("signature does not verify")
)

// SignHello signs a member's hello at now. The timestamp, in Unix milliseconds,
// goes into the hello beside the signature.
func SignHello(member KeyPair, meshID, memberID string, now time.Time) (timestamp int64, sig wire.Signature) {
	timestamp = now.UnixMilli()
	return timestamp, member.Sign(wire.HelloSigningText(meshID, memberID, member.Public().String(), timestamp))
}

// VerifyHello checks that pubkey signed this hello within MaxSkew of now. It
// fails with ErrTimestampSkew, else with ErrBadSignature. Whether pubkey is a
// member, and whether the hello is a replay (ReplayGuard), is for the caller.
func VerifyHello(meshID, memberID string, pubkey wire.Key, timestamp int64, sig wire.Signature, now time.Time) error {
	text := wire.HelloSigningText(meshID, memberID, pubkey.String(), timestamp)
	return verifyAt(pubkey, text, timestamp, sig, now)
}

// SignSessionHello signs a session's hello, under the member key that vouches
// for it, at now. The timestamp is in Unix milliseconds.
func SignSessionHello(session KeyPair, meshID string, member wire.Key, now time.Time) (timestamp int64, sig wire.Signature) {
	timestamp = now.UnixMilli()
	return timestamp, session.Sign(wire.SessionHelloSigningText(meshID, member, session.Public(), timestamp))
}

// VerifySessionHello checks that the session key signed this hello within
// MaxSkew of now. It fails with ErrTimestampSkew, else with ErrBadSignature.
// That the member vouches for the session is the Attestation's to show.
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
