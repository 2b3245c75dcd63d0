package envelope

import (
	"fmt"

	"golang.org/x/crypto/curve25519"
	"golang.org/x/crypto/nacl/box"
)

// SealAnonymous seals message for the owner of an x25519 public key, like libsodium's
// crypto_box_seal. The sender stays anonymous and can't open the result. A v1 claim
// carries such a key. SealAnonymous returns ErrBadKey for a public key of small order.
func SealAnonymous(to [32]byte, message []byte) ([]byte, error) {
	if smallOrder(to) {
		return nil, fmt.Errorf("seal anonymously: %w: x25519 public key of small order", ErrBadKey)
	}
	sealed, err := box.SealAnonymous(nil, message, &to, nil)
	if err != nil {
		return nil, fmt.Errorf("seal anonymously: %w", err)
	}
	return sealed, nil
}

// OpenAnonymous opens a message from SealAnonymous with the x25519 secret key. The
// error is ErrOpen.
func OpenAnonymous(secretX25519 [32]byte, sealed []byte) ([]byte, error) {
	if len(sealed) < box.AnonymousOverhead || smallOrder([32]byte(sealed)) {
		return nil, fmt.Errorf("open anonymous: %w", ErrOpen)
	}
	public, err := curve25519.X25519(secretX25519[:], curve25519.Basepoint)
	if err != nil {
		return nil, fmt.Errorf("open anonymous: %w", err)
	}
	message, ok := box.OpenAnonymous(nil, sealed, (*[32]byte)(public), &secretX25519)
	if !ok {
		return nil, fmt.Errorf("open anonymous: %w", ErrOpen)
	}
	return message, nil
}

// smallOrder reports whether the public key has small order: then the shared key is
// the same, known one for every secret key. Package box accepts such keys, libsodium
// doesn't. The check works with any secret key, since all are multiples of the
// cofactor.
func smallOrder(public [32]byte) bool {
	_, err := curve25519.X25519(make([]byte, 32), public[:])
	return err != nil
}
