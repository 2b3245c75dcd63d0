package identity

import (
	"bytes"
	"crypto/ed25519"

	"filippo.io/edwards25519"

	"github.com/claudemesh/claudemesh/wire"
)

// Verify reports whether sig is key's signature of text as UTF-8. It accepts what
// libsodium's crypto_sign_verify_detached accepts: RFC 8032 without cofactor, and no
// key or commitment of small order, because one signature would then be valid for many
// texts. Only the signer can make a second signature of the same text, so a signature
// can identify what it signs.
func Verify(key wire.Key, text string, sig wire.Signature) bool {
	return ed25519.Verify(key[:], []byte(text), sig[:]) &&
		strongPoint(key[:]) && strongPoint(sig[:32])
}

// strongPoint reports whether encoded is the canonical encoding of a point whose order
// isn't small.
func strongPoint(encoded []byte) bool {
	p, err := new(edwards25519.Point).SetBytes(encoded)
	if err != nil || !bytes.Equal(p.Bytes(), encoded) {
		return false
	}
	return p.MultByCofactor(p).Equal(edwards25519.NewIdentityPoint()) == 0
}
