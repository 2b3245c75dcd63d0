package peer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/wire"
)

// TooLongError tells that a message is longer than the broker takes, in bytes of its text
// as it was before it was sealed.
type TooLongError struct {
	Bytes int
	Most  int // that the broker takes of such a message; 0: not known
	cause *RefusedError
}

func (e *TooLongError) Error() string {
	text := fmt.Sprintf("the message is too long: it has %d bytes, and this broker doesn't accept as many", e.Bytes)
	if e.Most > 0 {
		text = fmt.Sprintf("the message is too long: it has %d bytes, and this broker accepts at most %d", e.Bytes, e.Most)
	}
	return text + "; send less, or where the rest can be found"
}

// Unwrap returns the *RefusedError in the broker's words.
func (e *TooLongError) Unwrap() error { return e.cause }

// inWords turns the broker's refusal of what is too large once sealed into the sender's
// own bytes.
func (s *sealedFrame) inWords(err error) error {
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != wire.AckPayloadTooLarge {
		return err
	}
	e := &TooLongError{Bytes: s.text, cause: refused}
	var size, limit int
	if _, err := fmt.Sscanf(refused.Reason, wire.AckPayloadTooLarge+": %d bytes > %d", &size, &limit); err == nil {
		padding := len(s.ciphertext) - len(strings.TrimRight(s.ciphertext, "="))
		added := base64.StdEncoding.DecodedLen(len(s.ciphertext)) - padding - s.text // by sealing
		e.Most = max(0, (limit-(size-len(s.ciphertext)))/4*3-added)
	}
	return e
}
