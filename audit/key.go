package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudemesh/claudemesh/wire"
)

// Key is the secret key with which a broker signs the notes of its audit logs. The storage
// holds it. It can't be printed. The zero Key is not a valid key.
type Key struct{ seed [ed25519.SeedSize]byte }

// NewKey makes a random key.
func NewKey() Key {
	var k Key
	rand.Read(k.seed[:]) // never fails (crypto/rand)
	return k
}

// ParseKey reads the 32 bytes of Key.Seed.
func ParseKey(seed []byte) (Key, error) {
	var k Key
	if len(seed) != len(k.seed) {
		return Key{}, fmt.Errorf("the key of the audit logs has %d bytes instead of %d", len(seed), len(k.seed))
	}
	copy(k.seed[:], seed)
	return k, nil
}

// Seed returns the bytes to store: the seed of RFC 8032. They are secret.
func (k Key) Seed() []byte { return k.seed[:] }

// IsZero reports whether k is the zero Key.
func (k Key) IsZero() bool { return k == Key{} }

// Format implements fmt.Formatter. It prints no part of the key, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("audit.Key(secret)")) }

// MarshalJSON returns an error: the key must not leave the storage by accident.
func (k Key) MarshalJSON() ([]byte, error) {
	return nil, errors.New("the key of the audit logs is secret")
}

// Origin returns the name of a mesh's log: the first line of its checkpoints, and the name of
// the key that signs them.
func Origin(meshID wire.ID) string { return "claudemesh/" + meshID.String() }

// Verifier returns the verifier key of a mesh's log, in the form that note.NewVerifier reads.
func (k Key) Verifier(meshID wire.ID) string {
	public := ed25519.NewKeyFromSeed(k.seed[:]).Public().(ed25519.PublicKey)
	v, err := note.NewEd25519VerifierKey(Origin(meshID), public)
	if err != nil {
		// Can't happen: it checks only the size of the key.
		panic(fmt.Sprintf("audit: encode a verifier key: %v", err))
	}
	return v
}

// signer signs the notes of one log. It implements note.Signer.
type signer struct {
	note.Verifier // for the name and the hash
	private       ed25519.PrivateKey
}

func (s signer) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.private, msg), nil }

// sign returns the text as a signed note.
func (k Key) sign(meshID wire.ID, text string) string {
	verifier, err := note.NewVerifier(k.Verifier(meshID))
	if err == nil {
		var signed []byte
		signed, err = note.Sign(&note.Note{Text: text}, signer{verifier, ed25519.NewKeyFromSeed(k.seed[:])})
		if err == nil {
			return string(signed)
		}
	}
	// Can't happen: the key and the text are well-formed.
	panic(fmt.Sprintf("audit: sign a note: %v", err))
}
