package envelope

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/nacl/box"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// SealDirect seals plaintext from one key to another, like libsodium's crypto_box_easy.
// The nonce consists of 16 random bytes and 8 bytes that distinguish the sender from
// the recipient. Nonce and ciphertext are in standard base64 with padding; before the
// encoding, the ciphertext is 16 bytes longer than the plaintext. The error is
// ErrBadKey.
func SealDirect(from identity.KeyPair, to wire.Key, plaintext []byte) (nonce, ciphertext string, err error) {
	shared, err := sharedKey(from, to)
	if err != nil {
		return "", "", fmt.Errorf("seal direct: %w", err)
	}
	n := directNonce(from.Public(), to)
	nonce, ciphertext = encodeSealed(n, box.SealAfterPrecomputation(nil, plaintext, &n, &shared))
	return nonce, ciphertext, nil
}

// OpenDirect opens a message that from sealed for to. It returns ErrBadNonce,
// ErrBadEncoding, ErrBadKey or ErrOpen, or ErrReflected for a message that to sealed
// for from.
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
	if to.Public() != from && directionMark(to.Public(), from, n[:randomPart]) == [markPart]byte(n[randomPart:]) {
		return nil, fmt.Errorf("open direct: %w", ErrReflected)
	}
	return plaintext, nil
}

const (
	randomPart = 16
	markPart   = nonceSize - randomPart
)

// directNonce returns a nonce that shows the direction of the message. A crypto_box has
// the same key in both directions. Without the mark, a broker could send a message back
// to its sender as if the recipient had written it. v1 clients accept any nonce; their
// own random nonces look marked with a probability of 2⁻⁶⁴.
func directNonce(from, to wire.Key) [nonceSize]byte {
	n := newNonce()
	mark := directionMark(from, to, n[:randomPart])
	copy(n[randomPart:], mark[:])
	return n
}

func directionMark(from, to wire.Key, random []byte) [markPart]byte {
	h := sha256.New()
	h.Write([]byte("claudemesh-direct-nonce|"))
	h.Write(from[:])
	h.Write(to[:])
	h.Write(random)
	return [markPart]byte(h.Sum(nil))
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
