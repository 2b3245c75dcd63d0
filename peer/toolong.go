package peer

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/wire"
)

// TooLongError reports that a message is longer than the broker accepts. Its sizes are in
// bytes of the text before sealing.
type TooLongError struct {
	Bytes int
	Most  int // how many bytes the broker accepts; 0: unknown
	cause *RefusedError
}

func (e *TooLongError) Error() string {
	text := fmt.Sprintf("the message is too long: it has %d bytes, and this broker doesn't accept that many", e.Bytes)
	if e.Most > 0 {
		text = fmt.Sprintf("the message is too long: it has %d bytes, and this broker accepts at most %d", e.Bytes, e.Most)
	}
	return text + "; shorten it, or send a path or link to the content"
}

// Unwrap returns the *RefusedError in the broker's words.
func (e *TooLongError) Unwrap() error { return e.cause }

// inWords translates the broker's refusal, which counts sealed bytes, into the bytes of
// the sender's text.
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
