package caddymesh

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/wire"
)

// maxBody is the most bytes of a request's body (protocol v1, section 1).
const maxBody = 65_536

// What decode finds wrong with a body.
var (
	errTooLarge = errors.New("payload too large")
	errBadJSON  = errors.New("body is not a JSON object of this request")
	errTooSlow  = errors.New("the body took too long")
)

// decode reads the body into v. It refuses names that come twice and text after
// the object, because two readers could take such a body for two requests.
// Invalid UTF-8 becomes U+FFFD: hooks report paths as they are on disk.
func (c *call) decode(v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &tooLarge):
			return errTooLarge
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errTooSlow
		}
		return errBadJSON // the client went away in the middle
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // the answer may take longer
	if err := jsonv2.Unmarshal(body, v, jsontext.AllowInvalidUTF8(true)); err != nil {
		return errBadJSON
	}
	return nil
}

// badBody answers an error of decode; malformed is the route's code for one that is not
// understood, with a text beside it if it is no text itself.
func (c *call) badBody(err error, malformed string) error {
	switch {
	case errors.Is(err, errTooLarge):
		return c.refuse(http.StatusRequestEntityTooLarge, err.Error(), "")
	case errors.Is(err, errTooSlow):
		return c.refuse(http.StatusRequestTimeout, err.Error(), "")
	case malformed == err.Error():
		return c.refuse(http.StatusBadRequest, malformed, "")
	}
	return c.refuse(http.StatusBadRequest, malformed, err.Error())
}

// limitBody bounds how long the body may take, whether it is read or not: as long as a
// hello on a socket. It does nothing on a connection that can't.
func (c *call) limitBody() {
	if c.r.ContentLength != 0 {
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(c.settings().HelloTimeout))
	}
}

// json answers with a JSON body. What a broker says is never to be kept.
func (c *call) json(status int, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	header := c.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
	_, err = c.w.Write(append(b, '\n'))
	return err
}

// refuse answers with an error: a word or a text, and what there is to say to a word.
func (c *call) refuse(status int, code, message string) error {
	return c.json(status, wire.ErrorBody{Error: code, Message: message})
}

// unavailable answers a request that may well succeed later.
func (c *call) unavailable(reason string) error {
	c.w.Header().Set("Retry-After", retryAfter)
	return c.refuse(http.StatusServiceUnavailable, wire.AckTryAgain, reason)
}

// storageAway answers for an error that is none of the rules'. Its text is the
// operator's, not the client's.
func (c *call) storageAway(err error) error {
	if c.r.Context().Err() == nil {
		c.log.Error("request failed for want of storage",
			zap.String("path", c.r.URL.Path), zap.Error(err))
	}
	return c.unavailable("the broker can't reach its storage right now")
}
