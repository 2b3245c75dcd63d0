package envelope

import (
	"crypto/rand"
	"encoding/base64"
)

// secret is 32 secret bytes. It is a function so that fmt can't print them: fmt calls
// no methods on unexported fields, so it would print the bytes of an array, but it
// prints only the address of a function.
type secret func() *[32]byte

func newSecret(b [32]byte) secret { return func() *[32]byte { return &b } }

func randomSecret() secret {
	var b [32]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return newSecret(b)
}

// encode returns base64url without padding, or "" when there is no secret.
func (s secret) encode() string {
	if s == nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(s()[:])
}
