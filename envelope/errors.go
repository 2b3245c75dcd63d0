package envelope

import "errors"

var (
	// ErrOpen is returned for what was sealed for another key, was cut or was
	// changed; which of these it was cannot be told.
	ErrOpen = errors.New("cannot be opened or is not authentic")

	// ErrReflected is returned for a direct message that the recipient itself has
	// sealed for the alleged sender.
	ErrReflected = errors.New("was sealed by the recipient itself, not by the sender")

	// ErrBadNonce is returned for a nonce that is not the canonical standard
	// base64 of 24 bytes.
	ErrBadNonce = errors.New("nonce must be the base64 of 24 bytes")

	// ErrBadEncoding is returned for text that is not canonical base64 of the
	// kind that is asked for, and for an authentic invite of another shape.
	ErrBadEncoding = errors.New("bad encoding")

	// ErrBadKey is returned for a key with which nothing can be sealed safely:
	// zero, of the wrong length, or a public key that is not a point of the
	// curve's main subgroup.
	ErrBadKey = errors.New("bad key")
)
