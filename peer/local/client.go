package local

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"

	"github.com/claudemesh/claudemesh/peer/configdir"
)

// MaxBody is the maximum size of a request or an answer, in bytes.
const MaxBody = 1 << 20

// Error means that the daemon has refused a call.
type Error struct {
	Status  int    `json:"-"` // of HTTP
	Code    string `json:"code"`
	Message string `json:"message"` // says what to do
}

func (e *Error) Error() string { return e.Message }

// The codes of Error.
const (
	CodeUnauthorized = "unauthorized" // 401: the token is unknown or no longer valid
	CodeInvalid      = "invalid"      // 400: the request makes no sense
	CodeNotFound     = "not_found"    // 404: no such session, peer, message or mesh
	CodeRefused      = "refused"      // 409: the request is valid, but can't be done
	CodeUnavailable  = "unavailable"  // 503: e.g. no connection to the broker
	CodeInternal     = "internal"     // 500
)

// Client calls the daemon. The zero Client is not usable.
type Client struct{ socket, token string }

// Owner returns a client with the rights of the daemon's owner. It fails with ErrNotRunning if
// no daemon was started. It does not connect yet.
func Owner(dir configdir.Dir) (*Client, error) {
	info, err := ReadInfo(dir)
	if err != nil {
		return nil, err
	}
	return &Client{info.Socket, info.Token}, nil
}

// Session returns a client that acts for the session of a claude process. It fails with
// ErrNotRunning, or with fs.ErrNotExist if that process is not registered.
func Session(dir configdir.Dir, pid int) (*Client, error) {
	info, err := ReadInfo(dir)
	if err != nil {
		return nil, err
	}
	ticket, err := ReadTicket(dir, pid)
	if err != nil {
		return nil, err
	}
	return &Client{info.Socket, ticket.Token}, nil
}

// Call calls a verb with in and decodes the answer into out. Both may be nil. It fails with
// ErrNotRunning, an *Error, or ctx's error.
func (c *Client) Call(ctx context.Context, verb string, in, out any) error {
	body, err := c.open(ctx, verb, in)
	if err != nil {
		return err
	}
	defer body.Close()
	// Always read to the end. If the caller disconnects before the daemon has written the
	// whole answer, the daemon considers it lost, and the messages in it become unread again.
	whole := io.LimitReader(body, MaxBody)
	defer func() { _, _ = io.Copy(io.Discard, whole) }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(whole).Decode(out); err != nil {
		return fmt.Errorf("read the daemon's answer to %s: %w", verb, err)
	}
	return nil
}

// Wake opens the stream that w asks for and calls each for every line, until each fails, or
// the stream or ctx ends. It returns nil if the daemon has ended the stream.
func (c *Client) Wake(ctx context.Context, w Wake, each func(Woken) error) error {
	verb := VerbWake
	if w.Path == PathTool {
		verb = VerbTool
	}
	body, err := c.open(ctx, verb, w)
	if err != nil {
		return err
	}
	defer body.Close()
	for lines := json.NewDecoder(body); ; {
		var woken Woken
		if err := lines.Decode(&woken); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("wait for messages: %w", err)
		}
		if err := each(woken); err != nil {
			return err
		}
	}
}

func (c *Client) open(ctx context.Context, verb string, in any) (io.ReadCloser, error) {
	b := []byte("{}")
	if in != nil {
		var err error
		if b, err = json.Marshal(in); err != nil {
			return nil, fmt.Errorf("encode %s: %w", verb, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon/v1/"+verb, bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("call the daemon: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := c.roundTrip(req)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
			return nil, ErrNotRunning
		}
		return nil, fmt.Errorf("call the daemon: %w", err)
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	refusal := &Error{Status: resp.StatusCode, Code: CodeInternal, Message: "the daemon answered " + resp.Status}
	_ = json.NewDecoder(io.LimitReader(resp.Body, MaxBody)).Decode(refusal) // on failure, the defaults stay
	return nil, refusal
}

// roundTrip sends a request over a new connection, which it closes with the answer's body or
// when the request's context ends. http.Transport would need a pool and three goroutines;
// starting them is a considerable part of the cost of a hook.
func (c *Client) roundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	resp, err := func() (*http.Response, error) {
		if err := req.Write(conn); err != nil {
			return nil, err
		}
		return http.ReadResponse(bufio.NewReader(conn), req)
	}()
	if err != nil {
		stop()
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	resp.Body = &body{ReadCloser: resp.Body, ctx: ctx, conn: conn, stop: stop}
	return resp, nil
}

// body is the body of an answer. Close closes the connection.
type body struct {
	io.ReadCloser
	ctx  context.Context
	conn net.Conn
	stop func() bool
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		err = b.ctx.Err()
	}
	return n, err
}

func (b *body) Close() error {
	b.stop()
	return b.conn.Close()
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}
