package envelope

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

const nonceSize = 24

// decodeBase64 reads s in the given encoding. It accepts only the canonical form: it
// refuses stray bits at the end, and the line breaks that package base64 skips.
func decodeBase64(enc *base64.Encoding, s string) ([]byte, error) {
	raw, err := enc.Strict().DecodeString(s)
	if err != nil || enc.EncodedLen(len(raw)) != len(s) {
		return nil, fmt.Errorf("%w: not canonical base64", ErrBadEncoding)
	}
	return raw, nil
}

// decodeSecret reads the 32 bytes of a secret in base64url without padding. It refuses
// the zero secret, which everybody knows.
func decodeSecret(s string) (secret [32]byte, err error) {
	raw, err := decodeBase64(base64.RawURLEncoding, s)
	if err != nil {
		return secret, err
	}
	if len(raw) != len(secret) {
		return secret, fmt.Errorf("%w: %d bytes, want %d", ErrBadKey, len(raw), len(secret))
	}
	if [32]byte(raw) == secret {
		return secret, fmt.Errorf("%w: all zero", ErrBadKey)
	}
	return [32]byte(raw), nil
}

// decodeSealed reads the nonce and ciphertext of a message on the wire.
func decodeSealed(nonce, ciphertext string) (n [nonceSize]byte, box []byte, err error) {
	raw, err := decodeBase64(base64.StdEncoding, nonce)
	if err != nil || len(raw) != nonceSize {
		return n, nil, ErrBadNonce
	}
	box, err = decodeBase64(base64.StdEncoding, ciphertext)
	if err != nil {
		return n, nil, fmt.Errorf("ciphertext: %w", err)
	}
	return [nonceSize]byte(raw), box, nil
}

func encodeSealed(n [nonceSize]byte, box []byte) (nonce, ciphertext string) {
	return base64.StdEncoding.EncodeToString(n[:]), base64.StdEncoding.EncodeToString(box)
}

func newNonce() (n [nonceSize]byte) {
	rand.Read(n[:]) // never fails (crypto/rand)
	return n
}
