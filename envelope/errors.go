package envelope

import "errors"

var (
	// ErrOpen is returned for a message that was sealed for another key, truncated
	// or changed. It is impossible to tell which.
	ErrOpen = errors.New("sealed for another key, truncated or changed")

	// ErrReflected is returned for a direct message that the recipient itself
	// sealed for the alleged sender.
	ErrReflected = errors.New("sealed by the recipient itself, not by the sender")

	// ErrBadNonce is returned for a nonce that isn't the canonical standard base64
	// of 24 bytes.
	ErrBadNonce = errors.New("nonce must be the base64 of 24 bytes")

	// ErrBadEncoding is returned for text that isn't canonical base64 of the
	// required alphabet, and for an authentic invite with unexpected content.
	ErrBadEncoding = errors.New("bad encoding")

	// ErrBadKey is returned for a key that is unsafe to seal with: zero, of the
	// wrong length, or a public key that isn't a point of the curve's main subgroup.
	ErrBadKey = errors.New("bad key")
)
