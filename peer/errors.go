package peer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

var (
	// ErrClosed is returned by calls on a closed client.
	ErrClosed = errors.New("client is closed")

	// ErrDisconnected is returned by a request whose connection ends before the answer
	// arrives.
	ErrDisconnected = errors.New("connection to the broker was lost before it answered")

	// errNoWelcome reports that the broker does not answer a hello.
	errNoWelcome = errors.New("the broker has not answered the hello")
	// errSilent ends a connection on which nothing arrives.
	errSilent = errors.New("nothing heard from the broker for 75 s")
	// errNoAnswer ends a connection on which the broker does not answer a ping in time.
	errNoAnswer = errors.New("the broker did not answer a ping")

	// errRenew ends a session's connection while its attestation is still valid.
	errRenew = errors.New("the attestation must be renewed")

	// errAbandoned ends a client without telling the broker that the peer leaves.
	errAbandoned = errors.New("client was abandoned")
)

// HelloError reports that the broker refused the client's hello.
type HelloError struct {
	Code    wire.Code
	Message string // the broker's words
	// Skew is how far this machine's clock is ahead of the broker's. It is set only with
	// CodeTimestampSkew, and is zero if it could not be measured.
	Skew time.Duration
}

func (e *HelloError) Error() string {
	switch e.Code {
	case wire.CodeTimestampSkew:
		if e.Skew != 0 {
			return fmt.Sprintf("this machine's clock is %s; correct it (brokers allow 60 s; the client compensates for up to a day by signing with the broker's time)", skewText(e.Skew))
		}
		return "this machine's clock differs from the broker's by more than 60 s; correct it"
	case wire.CodeUnauthorized:
		return "the broker does not know this key as a member of the mesh; join again with a new invite"
	case wire.CodeRevoked:
		return e.Message
	case wire.CodeBadSignature:
		return "the broker could not verify the signature of this member key; the config file may be damaged: join again with a new invite"
	case wire.CodeMemberIDMismatch, wire.CodeParentMemberIDMismatch:
		return "the member id in the config file belongs to another key; join again with a new invite"
	case wire.CodeTryAgain:
		return "the broker can't serve the mesh for now (" + e.Message + ")"
	case wire.CodeCapacity:
		return "the mesh has as many connections as the broker allows; try again later"
	case wire.CodeKeyTaken:
		return "another session has this session key"
	}
	return fmt.Sprintf("the broker refused the connection: %s: %s", e.Code, e.Message)
}

// Final reports whether connecting again is useless until somebody acts.
func (e *HelloError) Final() bool { return e.Code.Final() }

func skewText(d time.Duration) string {
	if d < 0 {
		return (-d).Round(time.Second).String() + " behind the broker's"
	}
	return d.Round(time.Second).String() + " ahead of the broker's"
}

// ClosedError reports that the broker ended the connection for good.
type ClosedError struct {
	Code   int // WebSocket close code
	Reason string
	Word   string // the reason that the admin gave; "" if none
}

func (e *ClosedError) Error() string {
	switch {
	case e.Code == wire.CloseBanned:
		return "you were removed from this mesh; ask its owner whether you may come back" + said(e.Word)
	case e.Code == wire.CloseTooBig:
		return "the message is larger than the broker accepts"
	case e.Code == wire.CloseKicked:
		return "an admin ended this connection" + said(e.Word)
	case e.Reason == wire.ReasonReplaced:
		return "another process has taken over this session"
	}
	return fmt.Sprintf("the broker closed the connection: %d %s", e.Code, e.Reason)
}

func said(word string) string {
	if word == "" {
		return ""
	}
	return ". Reason: " + visible.Line(word, visible.People)
}

// IsReplaced reports whether err says that another connection has proven the same session
// key and taken over. Don't connect again at once: the two connections would replace each
// other forever.
func IsReplaced(err error) bool {
	var closed *ClosedError
	return errors.As(err, &closed) && closed.Code == wire.CloseNormal && closed.Reason == wire.ReasonReplaced
}

// AsksToReturn reports whether the broker has ended a connection with a close that asks the
// client to return, as when the broker restarts or the mesh moves to another node.
func AsksToReturn(err error) bool {
	code := websocket.CloseStatus(err)
	return code == websocket.StatusGoingAway || code == wire.CloseRestart
}

// NoWebSocketError reports that the server at the broker's URL does not open a WebSocket.
type NoWebSocketError struct {
	Status int // the HTTP status of its answer
}

func (e *NoWebSocketError) Error() string {
	return fmt.Sprintf("the server answers with HTTP status %d instead of opening a WebSocket", e.Status)
}

// RefusedError reports that the broker refused a message.
type RefusedError struct {
	Code   string // first word of Reason, e.g. wire.AckTargetNotFound
	Reason string // the broker's words
	Final  bool   // sending the same message again can't help
}

func (e *RefusedError) Error() string { return "the broker refused the message: " + e.Reason }

// newRefusedError parses the error text of an ack. The protocol defines the words after
// which a v1 client gives up; after any other word, the client may try again.
func newRefusedError(reason string) *RefusedError {
	if reason == "" {
		reason = "no reason given"
	}
	code := reason
	if i := strings.IndexAny(reason, ": "); i > 0 {
		code = reason[:i]
	}
	lower, final := strings.ToLower(reason), false
	for _, word := range []string{"unknown", "invalid", "forbidden", "not_authorized", "not_found", "payload_too_large", "schema", "auth", "signature"} {
		final = final || strings.Contains(lower, word)
	}
	return &RefusedError{Code: code, Reason: reason, Final: final}
}

// RequestError is an error that the broker answered to a request.
type RequestError struct {
	Code    wire.Code
	Message string
}

func (e *RequestError) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return fmt.Sprintf("%s (%s)", e.Message, e.Code)
}

// IsNotFound reports whether err is the broker's answer that it does not know what a request names.
func IsNotFound(err error) bool {
	var refused *RequestError
	return errors.As(err, &refused) && refused.Code == wire.CodeNotFound
}

// closedBy translates the close of a WebSocket for a client. It returns a *ClosedError or
// *HelloError if the broker gave a reason that matters, and err otherwise.
func closedBy(err error) error {
	var closed websocket.CloseError
	if !errors.As(err, &closed) {
		return err
	}
	switch {
	case closed.Code == wire.CloseBanned, closed.Code == wire.CloseKicked, closed.Code == wire.CloseTooBig,
		closed.Code == wire.CloseNormal && closed.Reason == wire.ReasonReplaced:
		return &ClosedError{Code: int(closed.Code), Reason: closed.Reason}
	case closed.Code == wire.ClosePolicy && closed.Reason != "":
		return &HelloError{Code: wire.Code(closed.Reason), Message: closed.Reason}
	}
	return err
}

// isFinal reports whether a client must not connect again after err.
func isFinal(err error, oneShot bool) bool {
	var hello *HelloError
	var closed *ClosedError
	switch {
	case errors.As(err, &hello):
		return hello.Final()
	case errors.As(err, &closed):
		passing := closed.Code == wire.CloseKicked || closed.Code == wire.CloseTooBig
		return !passing || oneShot
	}
	return false
}
