package identity

import "github.com/claudemesh/claudemesh/wire"

// SignSuccession signs, with the old session's key, that the session with the key next
// succeeds it in that mesh.
func SignSuccession(old KeyPair, meshID string, next wire.Key) wire.Signature {
	return old.Sign(wire.SuccessionSigningText(meshID, old.Public(), next))
}

// VerifySuccession reports whether old signed that next succeeds it in that mesh. No
// key succeeds itself. The signature carries no time and never expires: whoever
// presents it must also prove possession of next.
func VerifySuccession(meshID string, old, next wire.Key, sig wire.Signature) bool {
	return old != next && Verify(old, wire.SuccessionSigningText(meshID, old, next), sig)
}
