package envelope

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/nacl/box"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// SealDirect seals plaintext from one key to another, as libsodium's
// crypto_box_easy. The nonce is 16 random bytes and 8 that tell the sender from
// the recipient. Nonce and ciphertext are standard base64 with padding; the
// ciphertext is 16 bytes longer than the plaintext before that. It fails with
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

// OpenDirect opens what from sealed to the key pair to. It fails with
// ErrBadNonce, ErrBadEncoding, ErrBadKey, ErrOpen, or with ErrReflected for what
// the holder of to has sealed for from.
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

// directNonce makes a nonce that shows who seals for whom: the key of a
// crypto_box is the same in both directions, so without that whoever carries a
// message could bring it back to its sender as one of the recipient's. Clients of
// protocol v1 take any nonce; theirs, all random, pass for marked by a chance of
// 2⁻⁶⁴.
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
