package caddymesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/wire"
)

// maxBody is the maximum size of a request body in bytes; see SPEC.md, section 2.
const maxBody = 65_536

// Errors of decode.
var (
	errTooLarge = errors.New("payload too large")
	errBadJSON  = errors.New("the body must be one JSON object with the fields of this request")
	errTooSlow  = errors.New("the body took too long to arrive")
)

// decode reads the body into v. It refuses duplicate names and text after the object,
// because two parsers could read such a body as two different requests. Invalid UTF-8
// becomes U+FFFD: hooks report paths as they are on disk.
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
		return errBadJSON // the client disconnected in the middle
	}
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // the answer may take longer
	c.body = body
	if err := jsonv2.Unmarshal(body, v, jsontext.AllowInvalidUTF8(true)); err != nil {
		return errBadJSON
	}
	return nil
}

// badBody answers an error of decode. malformed is the route's error for a body that
// decode can't read: a code, which badBody sends with a message, or the text of errBadJSON.
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

// limitBody limits the time that the body may take to arrive, whether a handler reads the
// body or not. The limit is that of a hello on a socket. limitBody does nothing on a
// connection without read deadlines.
func (c *call) limitBody() {
	if c.r.ContentLength != 0 {
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Now().Add(c.settings().HelloTimeout))
	}
}

// json answers with a JSON body that nobody may cache.
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

// refuse answers with an error: a code, or a text, and an optional message.
func (c *call) refuse(status int, code, message string) error {
	c.note(zap.String("refused", code))
	return c.json(status, wire.ErrorBody{Error: code, Message: message})
}

// note adds fields to the request's line in Caddy's access log.
func (c *call) note(fields ...zap.Field) {
	extra, ok := c.r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok {
		return
	}
	for _, field := range fields {
		extra.Set(field)
	}
}

// noteMember notes whose request this is.
func (c *call) noteMember(mesh, member fmt.Stringer) {
	c.note(zap.Stringer("mesh", mesh), zap.Stringer("member", member))
}

// unavailable answers a request that may succeed later.
func (c *call) unavailable(reason string) error {
	c.w.Header().Set("Retry-After", retryAfter)
	return c.refuse(http.StatusServiceUnavailable, wire.AckTryAgain, reason)
}

// storageAway answers a request that failed because of the storage. It logs the error for
// the operator and doesn't show it to the client.
func (c *call) storageAway(err error) error {
	if c.r.Context().Err() == nil {
		c.log.Error("request failed because the storage is unreachable",
			zap.String("path", c.r.URL.Path), zap.Error(err))
	}
	return c.unavailable("the broker can't reach its storage right now")
}
