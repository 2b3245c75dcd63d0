package envelope

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/nacl/secretbox"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// The two keys of a link are derived for distinct purposes (RFC 5869 §3.2), so that
// one key reveals nothing about the other.
const (
	claimKeyInfo   = "claudemesh invite v2 claim key"
	payloadKeyInfo = "claudemesh invite v2 payload key"
)

// LinkSecret is the secret part of an invite link. It is in the fragment of the link's
// URL, which browsers and clients don't send, so the broker never sees it. Two keys are
// derived from it: the claim key, which signs claims and whose public half the broker
// knows, and the key that seals the InvitePayload, which the broker stores but can't
// read or change. The zero LinkSecret holds no secret; ClaimKey panics on it.
type LinkSecret struct{ secret secret }

// InvitePayload is what a joining member needs to know and the broker must not be able
// to read or forge. It is sealed as JSON.
type InvitePayload struct {
	MeshID      string   `json:"meshId"`
	Slug        string   `json:"slug"`
	Name        string   `json:"name"`
	OwnerPubkey wire.Key `json:"ownerPubkey"`
	RootKey     string   `json:"rootKey"` // MeshKey.Encode
	Inviter     wire.Key `json:"inviter"`
}

// NewLinkSecret returns a new random secret.
func NewLinkSecret() LinkSecret { return LinkSecret{randomSecret()} }

// ParseLinkSecret reads 32 bytes in base64url without padding. It returns
// ErrBadEncoding, or ErrBadKey for another length or all zeros.
func ParseLinkSecret(s string) (LinkSecret, error) {
	b, err := decodeSecret(s)
	if err != nil {
		return LinkSecret{}, fmt.Errorf("link secret: %w", err)
	}
	return LinkSecret{newSecret(b)}, nil
}

// Encode returns the text for the link's fragment, which ParseLinkSecret reads.
func (s LinkSecret) Encode() string { return s.secret.encode() }

// IsZero reports whether s holds no secret.
func (s LinkSecret) IsZero() bool { return s.secret == nil }

// ClaimKey returns the key pair that signs claims of the invite.
func (s LinkSecret) ClaimKey() identity.KeyPair { return identity.FromSeed(s.derive(claimKeyInfo)) }

// SealInvite seals p for everybody who has the link. The result is the base64url
// without padding of nonce ‖ box. SealInvite returns ErrBadKey if s is zero, and the
// error of ParseMeshKey if p.RootKey isn't a mesh key.
func (s LinkSecret) SealInvite(p InvitePayload) (string, error) {
	if s.IsZero() {
		return "", fmt.Errorf("seal invite: %w: no link secret", ErrBadKey)
	}
	if _, err := ParseMeshKey(p.RootKey); err != nil {
		return "", fmt.Errorf("seal invite: %w", err)
	}
	plaintext, err := json.Marshal(plainPayload(p))
	if err != nil {
		return "", fmt.Errorf("seal invite: %w", err)
	}
	key, nonce := s.derive(payloadKeyInfo), newNonce()
	return base64.RawURLEncoding.EncodeToString(secretbox.Seal(nonce[:], plaintext, &nonce, &key)), nil
}

// OpenInvite opens a payload that SealInvite sealed with the same secret. The error is
// ErrBadEncoding, ErrBadKey or ErrOpen.
func (s LinkSecret) OpenInvite(sealed string) (InvitePayload, error) {
	if s.IsZero() {
		return InvitePayload{}, fmt.Errorf("open invite: %w: no link secret", ErrBadKey)
	}
	raw, err := decodeBase64(base64.RawURLEncoding, sealed)
	if err != nil {
		return InvitePayload{}, fmt.Errorf("open invite: %w", err)
	}
	if len(raw) < nonceSize+secretbox.Overhead {
		return InvitePayload{}, fmt.Errorf("open invite: %w", ErrOpen)
	}
	key, nonce := s.derive(payloadKeyInfo), [nonceSize]byte(raw)
	plaintext, ok := secretbox.Open(nil, raw[nonceSize:], &nonce, &key)
	if !ok {
		return InvitePayload{}, fmt.Errorf("open invite: %w", ErrOpen)
	}
	var p plainPayload
	if err := json.Unmarshal(plaintext, &p); err != nil {
		// Don't wrap the error of package json: it may quote the payload.
		return InvitePayload{}, fmt.Errorf("open invite: %w: not an invite", ErrBadEncoding)
	}
	if _, err := ParseMeshKey(p.RootKey); err != nil {
		return InvitePayload{}, fmt.Errorf("open invite: %w", err)
	}
	return InvitePayload(p), nil
}

func (s LinkSecret) derive(info string) [32]byte {
	// No salt: the secret is uniformly random already.
	key, err := hkdf.Key(sha256.New, s.secret()[:], nil, info, 32)
	if err != nil {
		panic(err) // can't happen: HKDF fails only for excessive lengths
	}
	return [32]byte(key)
}

// String returns a redaction.
func (s LinkSecret) String() string { return "LinkSecret(redacted)" }

// Format prints the redaction for every verb and flag.
func (s LinkSecret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue logs the redaction.
func (s LinkSecret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns the redaction, for JSON and other encodings.
func (s LinkSecret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// plainPayload is an InvitePayload without its redacting methods, for sealing and
// opening only.
type plainPayload InvitePayload

// String names the mesh and redacts the root key.
func (p InvitePayload) String() string {
	return fmt.Sprintf("InvitePayload(mesh %q, root key redacted)", p.MeshID)
}

// Format prints String for every verb and flag.
func (p InvitePayload) Format(f fmt.State, _ rune) { io.WriteString(f, p.String()) }

// LogValue logs String.
func (p InvitePayload) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText returns String, so that JSON and other encodings redact the root key.
func (p InvitePayload) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
