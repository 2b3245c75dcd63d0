package identity

import "github.com/claudemesh/claudemesh/wire"

// SignSuccession makes the old session's word that the session with the key next
// goes on in its place in that mesh.
func SignSuccession(old KeyPair, meshID string, next wire.Key) wire.Signature {
	return old.Sign(wire.SuccessionSigningText(meshID, old.Public(), next))
}

// VerifySuccession reports whether old has signed that next goes on in its place
// in that mesh. No key succeeds itself. Such a word holds for good: it carries no
// time, and whoever presents it must also prove to hold next.
func VerifySuccession(meshID string, old, next wire.Key, sig wire.Signature) bool {
	return old != next && Verify(old, wire.SuccessionSigningText(meshID, old, next), sig)
}
