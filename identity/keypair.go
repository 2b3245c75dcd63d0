package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/claudemesh/claudemesh/wire"
)

// SeedSize is the length of a key pair's seed in bytes.
const SeedSize = ed25519.SeedSize

var (
	// ErrBadSecret is returned for text that is not 128 lower-case hex digits.
	ErrBadSecret = errors.New("secret key must be 128 lowercase hex chars")

	// ErrSecretMismatch is returned for a secret key whose second half isn't the
	// public key of its first half. Signing with such a pair would reveal the
	// secret.
	ErrSecretMismatch = errors.New("public half of the secret key does not match its seed")
)

// KeyPair is an ed25519 key pair of a member, a session or an invite. The zero
// KeyPair holds no key: its methods return zero values, except that Sign and Seed
// panic. Compare key pairs by their Public keys.
type KeyPair struct {
	// private returns seed ‖ public key. It is a function so that fmt can't print
	// the secret: fmt calls no methods on unexported fields, so it would print the
	// bytes of an array, but it prints only the address of a function.
	private func() *[ed25519.PrivateKeySize]byte
}

// Generate returns a new random key pair.
func Generate() (KeyPair, error) {
	var seed [SeedSize]byte
	if _, err := io.ReadFull(rand.Reader, seed[:]); err != nil {
		return KeyPair{}, fmt.Errorf("generate key pair: %w", err)
	}
	return FromSeed(seed), nil
}

// FromSeed returns the key pair that RFC 8032 derives from seed.
func FromSeed(seed [SeedSize]byte) KeyPair {
	private := (*[ed25519.PrivateKeySize]byte)(ed25519.NewKeyFromSeed(seed[:]))
	return KeyPair{private: func() *[ed25519.PrivateKeySize]byte { return private }}
}

// ParseSecret reads a secret key in the form of protocol v1: 128 lower-case hex
// digits, seed ‖ public key. It returns ErrBadSecret or ErrSecretMismatch.
func ParseSecret(s string) (KeyPair, error) {
	raw, err := hex.DecodeString(s)
	// Encoding raw again refuses upper case, so that each key has one spelling.
	if err != nil || len(raw) != ed25519.PrivateKeySize || hex.EncodeToString(raw) != s {
		return KeyPair{}, ErrBadSecret
	}
	k := FromSeed([SeedSize]byte(raw))
	if k.Public() != wire.Key(raw[SeedSize:]) {
		return KeyPair{}, ErrSecretMismatch
	}
	return k, nil
}

// IsZero reports whether k holds no key.
func (k KeyPair) IsZero() bool { return k.private == nil }

// Public returns the public key.
func (k KeyPair) Public() wire.Key {
	if k.IsZero() {
		return wire.Key{}
	}
	return wire.Key(k.private()[SeedSize:])
}

// SecretHex returns the secret in the form that ParseSecret reads. Use it only to
// write the key's file.
func (k KeyPair) SecretHex() string {
	if k.IsZero() {
		return ""
	}
	return hex.EncodeToString(k.private()[:])
}

// Seed returns the secret seed, for deriving other keys from it.
func (k KeyPair) Seed() [SeedSize]byte { return [SeedSize]byte(k.private()[:]) }

// Sign returns the detached signature of text as UTF-8.
func (k KeyPair) Sign(text string) wire.Signature {
	return wire.Signature(ed25519.Sign(k.private()[:], []byte(text)))
}

// String returns the start of the public key and redacts the secret.
func (k KeyPair) String() string {
	if k.IsZero() {
		return "KeyPair(none)"
	}
	return "KeyPair(" + k.Public().Short() + ", secret redacted)"
}

// Format prints String for every verb and flag, so that none shows the secret.
func (k KeyPair) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue logs String.
func (k KeyPair) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText returns String, so that JSON and other encodings redact the secret.
func (k KeyPair) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
