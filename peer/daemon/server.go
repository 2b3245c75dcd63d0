package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// maxCalls is how many calls the daemon serves at once. A session holds one or two open.
	maxCalls = 512
	// headerTimeout and bodyTimeout limit how long a caller may take to send its request.
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	writeTimeout  = 5 * time.Second
)

// call is one request. A verb reads it with decode, and either writes a result with answer or
// returns an error.
type call struct {
	ctx context.Context
	w   http.ResponseWriter
	d   *daemon
	s   *session   // the token's session; nil for the owner
	p   *proc      // the process that holds the token; nil for the owner
	id  process.ID // of p
	in  []byte

	begun bool // part of the answer may be written, so it is too late for an error
}

// sender returns the sender of the messages that the call is about: the id of the session, or
// "" for the member.
func (c *call) sender() string {
	if c.s == nil {
		return ""
	}
	return c.s.id
}

// decode reads the request. Unknown fields are ignored.
func (c *call) decode(v any) error {
	if err := json.Unmarshal(c.in, v); err != nil {
		return invalid("decode the request: %v", err)
	}
	return nil
}

// answer writes the result. An error means that the caller did not receive all of it.
func (c *call) answer(v any) error {
	if v == nil {
		v = struct{}{}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return c.write(b)
}

// write writes and flushes b within writeTimeout.
func (c *call) write(b []byte) error {
	control := http.NewResponseController(c.w)
	if err := control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	c.begun = true
	if _, err := c.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return control.Flush()
}

// verb serves one kind of call.
type verb struct {
	owner bool // requires the owner's token, otherwise a session's
	serve func(*daemon, *call) error
}

var verbs = map[string]verb{
	local.VerbStatus:   {true, (*daemon).serveStatus},
	local.VerbRegister: {true, (*daemon).serveRegister},
	local.VerbActivity: {true, (*daemon).serveActivity},
	local.VerbPrinted:  {true, (*daemon).servePrinted},
	local.VerbEnd:      {true, (*daemon).serveEnd},
	local.VerbShutdown: {true, (*daemon).serveShutdown},

	local.VerbMemberSend:          {true, (*daemon).serveMemberSend},
	local.VerbMemberMessageStatus: {true, (*daemon).serveMessageStatus},

	local.VerbSend:          {false, (*daemon).serveSend},
	local.VerbPeers:         {false, (*daemon).servePeers},
	local.VerbCheck:         {false, (*daemon).serveCheck},
	local.VerbMessageStatus: {false, (*daemon).serveMessageStatus},
	local.VerbSetSummary:    {false, (*daemon).serveSetSummary},
	local.VerbSetStatus:     {false, (*daemon).serveSetStatus},
	local.VerbJoinGroup:     {false, (*daemon).serveJoinGroup},
	local.VerbLeaveGroup:    {false, (*daemon).serveLeaveGroup},
	local.VerbUnread:        {false, (*daemon).serveUnread},
	local.VerbWake:          {false, (*daemon).serveWake},
	local.VerbTool:          {false, (*daemon).serveWake},
}

func (d *daemon) newServer() *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(d.serveHTTP),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
}

func (d *daemon) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.begin() {
		d.refuse(w, errStopping)
		return
	}
	defer d.group.Done()
	select {
	case d.calls <- struct{}{}:
		defer func() { <-d.calls }()
	default:
		d.refuse(w, unavailable("the daemon is busy: it already serves %d calls; try again", maxCalls))
		return
	}
	c := &call{ctx: r.Context(), w: w, d: d}
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("panic", "verb", r.URL.Path, "value", p, "stack", string(debug.Stack()))
			c.fail(errors.New("panic"))
		}
	}()
	w.Header().Set("Content-Type", "application/json")
	name, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	v, known := verbs[name]
	if !ok || !known || r.Method != http.MethodPost {
		d.refuse(w, &local.Error{Code: local.CodeNotFound, Message: "this daemon does not support this call; it may be older than the calling program"})
		return
	}
	if err := d.admit(c, v.owner, r.Header.Get("Authorization")); err != nil {
		d.refuse(w, err)
		return
	}
	var err error
	if c.in, err = io.ReadAll(http.MaxBytesReader(w, r.Body, local.MaxBody)); err != nil {
		d.refuse(w, invalid("read the request: %v", err))
		return
	}
	// The time limit was for the request. A stream may last longer.
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		d.refuse(w, err)
		return
	}
	if err := v.serve(d, c); err != nil {
		c.fail(err)
	}
}

// fail answers with an error unless the answer has begun. In that case the error comes from a
// write, usually because the caller has hung up.
func (c *call) fail(err error) {
	if c.begun {
		c.d.log.Debug("answer cut short", "error", err)
		return
	}
	c.d.refuse(c.w, err)
}

// admit authenticates the caller. It looks up session tokens by their hash, so that the
// duration of the lookup reveals nothing about the token.
func (d *daemon) admit(c *call, owner bool, header string) error {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return errUnauthorized
	}
	if owner {
		if subtle.ConstantTimeCompare([]byte(token), []byte(d.reach().Token)) != 1 {
			return errUnauthorized
		}
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.tokens[sha256.Sum256([]byte(token))]
	if p == nil {
		return errUnauthorized
	}
	c.s, c.p, c.id = p.session, p, p.ID
	return nil
}

var (
	errUnauthorized = &local.Error{Code: local.CodeUnauthorized, Message: "token not valid for this operation (expired, revoked or out of scope)"}
	errStopping     = unavailable("the daemon is stopping")
)

// statusOf maps each error code to its HTTP status.
var statusOf = map[string]int{
	local.CodeUnauthorized: http.StatusUnauthorized,
	local.CodeInvalid:      http.StatusBadRequest,
	local.CodeNotFound:     http.StatusNotFound,
	local.CodeRefused:      http.StatusConflict,
	local.CodeUnavailable:  http.StatusServiceUnavailable,
	local.CodeInternal:     http.StatusInternalServerError,
}

func refusal(code, format string, args ...any) *local.Error {
	return &local.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *local.Error {
	return refusal(local.CodeInvalid, format, args...)
}

func notFound(format string, args ...any) *local.Error {
	return refusal(local.CodeNotFound, format, args...)
}

func refused(format string, args ...any) *local.Error {
	return refusal(local.CodeRefused, format, args...)
}

func unavailable(format string, args ...any) *local.Error {
	return refusal(local.CodeUnavailable, format, args...)
}

// refuse answers with an error. Details of internal errors go to the log only.
func (d *daemon) refuse(w http.ResponseWriter, err error) {
	var e *local.Error
	var nobody *peer.NobodyError
	var ambiguous *peer.AmbiguousError
	var changed *inbox.ChangedKeyError
	switch {
	case errors.As(err, &e):
	case errors.As(err, &nobody): // the hint in its own text is for a user, not a model
		e = notFound("no member or session in this mesh is called %q; %scall list_peers to see who is there", nobody.Name, peer.DidYouMean(nobody.Meant))
	case errors.As(err, &changed):
		e = refused("%s", changedText(changed))
	case errors.As(err, &ambiguous):
		e = notFound("%v", err)
	case errors.Is(err, errSessionOver):
		e = unavailable("%v", err)
	default:
		d.log.Error("call failed", "error", err)
		e = refusal(local.CodeInternal, "the call failed inside the daemon; `claudemesh daemon logs` shows why")
		var unwritable *disk.UnwritableError
		if errors.As(disk.Unwritable(d.o.Dir, err), &unwritable) {
			e = unavailable("%s", unwritable.Advice)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusOf[e.Code])
	b, err := json.Marshal(e)
	if err == nil {
		_, _ = w.Write(b) // the caller may be gone
	}
}

// changedText explains a changed key to a model. Only the user can confirm the new key, so the
// model gets no way to do it.
func changedText(e *inbox.ChangedKeyError) string {
	text := e.Error() + ". The name may be somebody else's now, or the broker may have put another key in its place. " +
		"Tell your user; don't send it in another way, and don't try to confirm the key yourself."
	if !e.Unproven {
		text += " Only your user can confirm it, with `" + e.Command() + "` in a terminal of their own."
	}
	return text
}

func (d *daemon) serveShutdown(c *call) error {
	var in local.Shutdown
	if err := c.decode(&in); err != nil {
		return err
	}
	d.mu.Lock()
	d.leave = in.Leave
	d.mu.Unlock()
	kick(d.quit)
	return c.answer(nil)
}
