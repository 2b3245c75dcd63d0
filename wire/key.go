package wire

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// KeySize is the length of a Key in bytes.
const KeySize = 32

// Key is an ed25519 public key: a member's or a session's. On the wire it is
// 64 lower-case hex digits. The zero Key means "no key".
type Key [KeySize]byte

// ErrBadKey is returned for text that is not 64 lower-case hex digits.
var ErrBadKey = errors.New("must be 64 lowercase hex chars")

// ParseKey reads the wire form of a key.
func ParseKey(s string) (Key, error) {
	var k Key
	if !decodeLowerHex(k[:], s) {
		return Key{}, ErrBadKey
	}
	return k, nil
}

// IsZero reports whether k is the zero Key.
func (k Key) IsZero() bool { return k == Key{} }

// String returns the wire form.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Short returns the first 8 hex digits, for people to read.
func (k Key) Short() string { return hex.EncodeToString(k[:4]) }

// MarshalText returns the wire form.
func (k Key) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

// UnmarshalText reads the wire form.
func (k *Key) UnmarshalText(b []byte) error {
	parsed, err := ParseKey(string(b))
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	*k = parsed
	return nil
}

// SignatureSize is the length of a Signature in bytes.
const SignatureSize = 64

// Signature is a detached ed25519 signature: 128 lower-case hex digits on the wire.
type Signature [SignatureSize]byte

// ErrBadSignatureText is returned for text that is not 128 lower-case hex digits.
var ErrBadSignatureText = errors.New("must be 128 lowercase hex chars")

// ParseSignature reads the wire form of a signature.
func ParseSignature(s string) (Signature, error) {
	var sig Signature
	if !decodeLowerHex(sig[:], s) {
		return Signature{}, ErrBadSignatureText
	}
	return sig, nil
}

// String returns the wire form.
func (s Signature) String() string { return hex.EncodeToString(s[:]) }

// MarshalText returns the wire form.
func (s Signature) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText reads the wire form.
func (s *Signature) UnmarshalText(b []byte) error {
	parsed, err := ParseSignature(string(b))
	if err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	*s = parsed
	return nil
}

// decodeLowerHex fills dst from exactly 2·len(dst) lower-case hex digits. It refuses
// upper case so that each key has one spelling.
func decodeLowerHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	for i := range dst {
		hi, lo := lowerHexDigit(s[2*i]), lowerHexDigit(s[2*i+1])
		if hi < 0 || lo < 0 {
			return false
		}
		dst[i] = byte(hi<<4 | lo)
	}
	return true
}

func lowerHexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
