package envelope

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/nacl/secretbox"
)

// MeshKey is the secret that all members of a mesh share and the broker doesn't know.
// Protocol v1 calls it the root key. The zero MeshKey holds no key and can't seal.
type MeshKey struct{ secret secret }

// NewMeshKey returns a new random key.
func NewMeshKey() MeshKey { return MeshKey{randomSecret()} }

// ParseMeshKey reads 32 bytes in base64url without padding. It returns ErrBadEncoding,
// or ErrBadKey for another length or all zeros.
func ParseMeshKey(s string) (MeshKey, error) {
	b, err := decodeSecret(s)
	if err != nil {
		return MeshKey{}, fmt.Errorf("mesh key: %w", err)
	}
	return MeshKey{newSecret(b)}, nil
}

// Encode returns the text that ParseMeshKey reads. Use it only for the config file and
// for sealed invites.
func (k MeshKey) Encode() string { return k.secret.encode() }

// IsZero reports whether k holds no key.
func (k MeshKey) IsZero() bool { return k.secret == nil }

// Equal reports, in constant time, whether the keys are equal.
func (k MeshKey) Equal(other MeshKey) bool {
	if k.IsZero() || other.IsZero() {
		return k.IsZero() && other.IsZero()
	}
	return subtle.ConstantTimeCompare(k.secret()[:], other.secret()[:]) == 1
}

// String returns a redaction.
func (k MeshKey) String() string { return "MeshKey(redacted)" }

// Format prints the redaction for every verb and flag.
func (k MeshKey) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue logs the redaction.
func (k MeshKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns the redaction, for JSON and other encodings. Only Encode returns
// the key.
func (k MeshKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// SealMesh seals plaintext for everybody who has the mesh key, with a random nonce,
// like libsodium's crypto_secretbox_easy. Nonce and ciphertext are in standard base64
// with padding. SealMesh returns ErrBadKey for the zero key.
func SealMesh(key MeshKey, plaintext []byte) (nonce, ciphertext string, err error) {
	if key.IsZero() {
		return "", "", fmt.Errorf("seal for mesh: %w: no mesh key", ErrBadKey)
	}
	n := newNonce()
	nonce, ciphertext = encodeSealed(n, secretbox.Seal(nil, plaintext, &n, key.secret()))
	return nonce, ciphertext, nil
}

// OpenMesh opens a message from SealMesh. The error is ErrBadNonce, ErrBadEncoding,
// ErrBadKey for the zero key, or ErrOpen.
func OpenMesh(key MeshKey, nonce, ciphertext string) ([]byte, error) {
	n, sealed, err := decodeSealed(nonce, ciphertext)
	if err != nil {
		return nil, fmt.Errorf("open from mesh: %w", err)
	}
	if key.IsZero() {
		return nil, fmt.Errorf("open from mesh: %w: no mesh key", ErrBadKey)
	}
	plaintext, ok := secretbox.Open(nil, sealed, &n, key.secret())
	if !ok {
		return nil, fmt.Errorf("open from mesh: %w", ErrOpen)
	}
	return plaintext, nil
}
