package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/configdir"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
)

const (
	// Budget is how long a hook may take when it has its event.
	Budget = 40 * time.Millisecond
	// inputLimit is how long a hook waits for its event. Claude Code starts the hook
	// first, and may be busy then; a beginning that is not heard is not made up for
	// until the next prompt.
	inputLimit = 2 * time.Second
)

// Hook answers one event of one claude process. The zero value of each field but
// Dir and PID is usable.
type Hook struct {
	Dir configdir.Dir
	PID int // of claude
	// ConfigDir is Claude Code's directory, an absolute path; "": not known.
	ConfigDir string
	// Env looks up what `claudemesh launch` has handed on; nil: nothing.
	Env func(string) string
	// Build is this program's. A daemon of an older one is replaced when a session begins.
	Build local.Build
	// Detach hands an event to a process of its own, which calls Deliver; nil: it is lost.
	Detach func(Event) error
	// Logf is told what happens; nil: nobody is.
	Logf func(format string, args ...any)

	budget time.Duration // 0: Budget
}

// Run reads the event, tells the daemon, and writes what is to come into the
// context, if anything. It is done, or has given up, within Budget of the event. It
// never panics.
func (h *Hook) Run(ctx context.Context, in io.Reader, out io.Writer) {
	defer func() {
		if p := recover(); p != nil {
			h.logf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	e, err := h.read(ctx, in)
	if err != nil {
		h.logf("ignored: %v", err)
		return
	}
	budget := h.budget
	if budget == 0 {
		budget = Budget
	}
	ctx, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	begun := time.Now()
	p, err := h.handle(ctx, &e)
	if err == nil && p.Pointer != "" {
		err = h.print(ctx, out, &e, p)
	}
	h.logf("%s of session %s, process %d, after %s: pointer %q, error: %v",
		e.Name, e.SessionID, h.PID, time.Since(begun).Round(10*time.Microsecond), p.Pointer, err)
}

// read waits for the event no longer than inputLimit. Reading can't be interrupted;
// it is left to the end of the process.
func (h *Hook) read(ctx context.Context, in io.Reader) (Event, error) {
	ctx, cancel := context.WithTimeout(ctx, inputLimit)
	defer cancel()
	type result struct {
		b   []byte
		err error
	}
	read := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(io.LimitReader(in, MaxInput+1))
		if err == nil && len(b) > MaxInput {
			_, err = io.Copy(io.Discard, in) // Claude Code writes it all, or complains
		}
		read <- result{b, err}
	}()
	select {
	case <-ctx.Done():
		return Event{}, fmt.Errorf("read the event: %w", ctx.Err())
	case r := <-read:
		if r.err != nil {
			return Event{}, fmt.Errorf("read the event: %w", r.err)
		}
		return Parse(r.b)
	}
}

// handle tells the daemon of the event and returns what is to come into the context.
func (h *Hook) handle(ctx context.Context, e *Event) (p local.Pointer, err error) {
	if e.AgentID != "" {
		return p, errors.New("ignored: of a subagent")
	}
	switch e.Name {
	case sessionStart:
		return p, h.start(ctx, e)
	case sessionEnd:
		return p, h.end(ctx, e)
	}
	a := h.activity(e)
	if a == nil {
		return p, errors.New("ignored: says nothing")
	}
	p, err = h.tell(ctx, e, a)
	if unanswered(err) && len(a.Ended) > 0 {
		// Else nobody may know that the messages have been read.
		err = errors.Join(err, h.detach(e))
	}
	return p, err
}

// print puts the pointer into the context, and then says so: the daemon takes
// nobody for told of a message who has not been.
func (h *Hook) print(ctx context.Context, out io.Writer, e *Event, p local.Pointer) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("print the pointer: %w", err)
	}
	if err := write(out, e.Name, p.Pointer); err != nil {
		return err
	}
	daemon, err := local.Owner(h.Dir)
	if err != nil {
		return err
	}
	return daemon.Call(ctx, local.VerbPrinted, local.Printed{PID: h.PID, Domain: process.Domain(), Number: p.Number}, nil)
}

// tell tells the daemon of something within a session.
func (h *Hook) tell(ctx context.Context, e *Event, a *local.Activity) (p local.Pointer, err error) {
	daemon, err := local.Owner(h.Dir)
	if err != nil {
		return p, err
	}
	err = daemon.Call(ctx, local.VerbActivity, a, &p)
	var refused *local.Error
	if errors.As(err, &refused) && e.Name == userPromptSubmit &&
		(refused.Code == local.CodeNotFound || refused.Code == local.CodeRefused) {
		// The daemon has missed how the session began. Better late than never.
		if err = h.register(ctx, daemon, e); err == nil {
			err = daemon.Call(ctx, local.VerbActivity, a, &p)
		}
	}
	return p, err
}

// start registers the session, and hands it over when the daemon can't be reached
// or is to be replaced.
func (h *Hook) start(ctx context.Context, e *Event) error {
	info, err := local.ReadInfo(h.Dir)
	if err != nil {
		return errors.Join(err, h.detach(e))
	}
	daemon, err := local.Owner(h.Dir)
	if err != nil {
		return errors.Join(err, h.detach(e))
	}
	err = h.register(ctx, daemon, e)
	if unanswered(err) || err == nil && h.Build.Newer(info.Build) {
		err = errors.Join(err, h.detach(e))
	}
	return err
}

func (h *Hook) register(ctx context.Context, daemon *local.Client, e *Event) error {
	var r local.Registered
	if err := daemon.Call(ctx, local.VerbRegister, h.registration(e), &r); err != nil {
		return err
	}
	for _, warning := range r.Warnings {
		h.logf("warning: %s", warning)
	}
	return nil
}

func (h *Hook) registration(e *Event) *local.Register {
	env := h.Env
	if env == nil {
		env = func(string) string { return "" }
	}
	id, err := process.Of(h.PID)
	if err != nil {
		h.logf("find the start of claude: %v", err) // the daemon looks itself then
	}
	r := register(e, h.PID, id.Start, env)
	r.Domain = process.Domain()
	r.ConfigDir = h.ConfigDir
	if parent, nested := h.parent(e); nested && env(EnvLaunch) != strconv.Itoa(h.PID) {
		// What launch has handed on is the parent's.
		r.Parent, r.Name, r.Role, r.Groups = parent, "", "", nil
	}
	return r
}

// parent returns the claude process within whose session this one was started.
func (h *Hook) parent(e *Event) (pid int, nested bool) {
	pid, found := lineage.Find(h.Dir, h.PID, "")
	if !found {
		return 0, false
	}
	ticket, err := local.ReadTicket(h.Dir, pid)
	return pid, err == nil && ticket.SessionID != string(e.SessionID)
}

// end says that the session is left. Without a daemon there is nothing to leave,
// unless it has crashed: then its presences are still there, and go when another
// one is told. A clear must be told in any case: what is written to the session that it
// ends is for the next one of the process, whatever that one's start says of itself.
func (h *Hook) end(ctx context.Context, e *Event) error {
	daemon, err := local.Owner(h.Dir)
	if err != nil {
		if e.Reason == text(local.SourceClear) {
			err = errors.Join(err, h.detach(e))
		}
		return err
	}
	err = daemon.Call(ctx, local.VerbEnd, h.ending(e), nil)
	if unanswered(err) {
		err = errors.Join(err, h.detach(e))
	}
	return err
}

func (h *Hook) ending(e *Event) *local.End {
	return &local.End{PID: h.PID, Domain: process.Domain(), SessionID: string(e.SessionID), Reason: string(e.Reason)}
}

// activity is what an event within the session says; nil for one that says nothing.
func (h *Hook) activity(e *Event) *local.Activity {
	a := activity(e, h.PID)
	if a != nil {
		a.Domain = process.Domain()
	}
	return a
}

// unanswered reports whether nobody knows what came of a call.
func unanswered(err error) bool {
	var refused *local.Error
	return err != nil && !errors.As(err, &refused)
}

func (h *Hook) detach(e *Event) error {
	if h.Detach == nil {
		return nil
	}
	if err := h.Detach(*e); err != nil {
		return fmt.Errorf("hand %s over: %w", e.Name, err)
	}
	h.logf("handed %s over to a process of its own", e.Name)
	return nil
}

func (h *Hook) logf(format string, args ...any) {
	if h.Logf != nil {
		h.Logf(format, args...)
	}
}

// output is what a hook prints to get text into the context.
type output struct {
	Specific specific `json:"hookSpecificOutput"`
}

type specific struct {
	Event   string `json:"hookEventName"`
	Context string `json:"additionalContext"`
}

// write prints the pointer.
func write(out io.Writer, event text, pointer string) error {
	b, err := json.Marshal(output{specific{string(event), visible.Line(pointer, visible.Model)}})
	if err != nil {
		return fmt.Errorf("encode the pointer: %w", err)
	}
	if _, err := out.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("print the pointer: %w", err)
	}
	return nil
}
