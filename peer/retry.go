package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/wire"
)

// retryFor is how long a command retries while the broker is away. Another node takes over
// the meshes of a lost node within 5 s, and a broker restarts within a few seconds.
const retryFor = 20 * time.Second

// AwayError reports that the broker could not serve a command, although the command retried
// for as long as it may.
type AwayError struct {
	Err error         // why the last attempt failed
	For time.Duration // since the first attempt
	// After is how long the server asks its clients to wait; 0 if it does not say.
	After time.Duration
}

func (e *AwayError) Error() string { return e.Err.Error() + e.Advice() }
func (e *AwayError) Unwrap() error { return e.Err }

// Advice says what to do about the error. It follows the text of Err.
func (e *AwayError) Advice() string {
	if e.For < time.Second {
		return fmt.Sprintf("; try again in %s", e.After.Round(time.Second))
	}
	return fmt.Sprintf("; tried again for %s; try later, and tell the broker's operator if it lasts", e.For.Round(time.Second))
}

// retry calls attempt until it succeeds. passes reports whether an error is likely to pass,
// and how long the server asks its clients to wait. retry gives up if the error is not
// likely to pass, if ctx ends, or if the next attempt would begin more than retryFor after
// the first. It calls told, which may be nil, with each error that it retries after.
func retry(ctx context.Context, passes func(error) (after time.Duration, ok bool), told func(error), attempt func() error) error {
	var pauses backoff
	for begin := time.Now(); ; {
		err := attempt()
		after, ok := passes(err)
		if !ok || ctx.Err() != nil {
			return err
		}
		pause := max(pauses.next(), after)
		if spent := time.Since(begin); spent+pause > retryFor {
			return &AwayError{err, spent, after}
		}
		if told != nil {
			told(err)
		}
		if !sleep(ctx, pause) {
			return err
		}
	}
}

// passing reports whether err is likely to pass within seconds, as when the broker restarts
// or a mesh moves to another node.
func passing(err error) (after time.Duration, ok bool) {
	var hello *HelloError
	var route *HTTPError
	switch {
	case err == nil:
		return 0, false
	case errors.As(err, &hello):
		return 0, hello.Code == wire.CodeTryAgain
	case errors.As(err, &route):
		return route.RetryAfter, isPassing(route.Status)
	case AsksToReturn(err), websocket.CloseStatus(err) == wire.CloseTryLater:
		return 0, true
	}
	return 0, errors.Is(err, errNoWelcome) || // a node that has stopped answering still has its meshes for some seconds
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// refusedForNow is like passing, for a request that the broker must not serve twice. It is
// true only if the server says that it has not served the request.
func refusedForNow(err error) (after time.Duration, ok bool) {
	var route *HTTPError
	if errors.As(err, &route) && (route.Status == http.StatusTooManyRequests || route.Status == http.StatusServiceUnavailable) {
		return route.RetryAfter, true
	}
	return 0, false
}

// isPassing reports whether a server, or the proxy before it, answers with this status while
// it can't serve requests.
func isPassing(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the header Retry-After: seconds, or a time by the clock of the server.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(at.Sub(now), 0)
}
