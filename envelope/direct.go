package envelope

import (
	"fmt"

	"golang.org/x/crypto/nacl/box"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// SealDirect seals plaintext from one key to another under a random nonce, as
// libsodium's crypto_box_easy. Nonce and ciphertext are standard base64 with
// padding; the ciphertext is 16 bytes longer than the plaintext before that.
// The recipient, and the sender too, can open it. It fails with ErrBadKey.
func SealDirect(from identity.KeyPair, to wire.Key, plaintext []byte) (nonce, ciphertext string, err error) {
	shared, err := sharedKey(from, to)
	if err != nil {
		return "", "", fmt.Errorf("seal direct: %w", err)
	}
	n := newNonce()
	nonce, ciphertext = encodeSealed(n, box.SealAfterPrecomputation(nil, plaintext, &n, &shared))
	return nonce, ciphertext, nil
}

// OpenDirect opens what from sealed to the key pair to. It fails with
// ErrBadNonce, ErrBadEncoding, ErrBadKey or ErrOpen.
func OpenDirect(to identity.KeyPair, from wire.Key, nonce, ciphertext string) ([]byte, error) {
	n, sealed, err := decodeSealed(nonce, ciphertext)
	if err != nil {
		return nil, fmt.Errorf("open direct: %w", err)
	}
	shared, err := sharedKey(to, from)
	if err != nil {
		return nil, fmt.Errorf("open direct: %w", err)
	}
	plaintext, ok := box.OpenAfterPrecomputation(nil, sealed, &n, &shared)
	if !ok {
		return nil, fmt.Errorf("open direct: %w", ErrOpen)
	}
	return plaintext, nil
}

func sharedKey(mine identity.KeyPair, theirs wire.Key) (shared [32]byte, err error) {
	if mine.IsZero() {
		return shared, fmt.Errorf("%w: no key pair", ErrBadKey)
	}
	public, err := PublicToX25519(theirs)
	if err != nil {
		return shared, err
	}
	secret := SecretToX25519(mine)
	box.Precompute(&shared, &public, &secret)
	return shared, nil
}
