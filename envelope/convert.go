package envelope

import (
	"bytes"
	"crypto/sha512"
	"fmt"

	"filippo.io/edwards25519"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// minusOne is the order of the main subgroup minus one, as a scalar.
var minusOne = func() *edwards25519.Scalar {
	one, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{1}, make([]byte, 31)...))
	if err != nil {
		panic(err)
	}
	return one.Negate(one)
}()

// PublicToX25519 converts an ed25519 public key to the x25519 key of the same owner,
// like libsodium's crypto_sign_ed25519_pk_to_curve25519. It returns ErrBadKey unless
// key is the canonical encoding of a point of the main subgroup without small order:
// other points would make the shared key predictable.
func PublicToX25519(key wire.Key) ([32]byte, error) {
	p, err := new(edwards25519.Point).SetBytes(key[:])
	if err != nil || !bytes.Equal(p.Bytes(), key[:]) || !inMainSubgroup(p) {
		return [32]byte{}, fmt.Errorf("%w: %s isn't a usable ed25519 public key", ErrBadKey, key.Short())
	}
	return [32]byte(p.BytesMontgomery()), nil
}

// SecretToX25519 converts an ed25519 key pair to the x25519 secret key of the same
// owner, like libsodium's crypto_sign_ed25519_sk_to_curve25519. It panics for the zero
// KeyPair.
func SecretToX25519(k identity.KeyPair) [32]byte {
	seed := k.Seed()
	h := sha512.Sum512(seed[:])
	h[0] &= 248
	h[31] = h[31]&127 | 64
	return [32]byte(h[:32])
}

// inMainSubgroup reports whether the order of p is the large prime: then
// (order - 1)·p + p is the neutral point. It excludes the neutral point itself, which
// has order 1. Public keys need no constant time.
func inMainSubgroup(p *edwards25519.Point) bool {
	neutral := edwards25519.NewIdentityPoint()
	q := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(minusOne, p, edwards25519.NewScalar())
	return p.Equal(neutral) == 0 && q.Add(q, p).Equal(neutral) == 1
}
