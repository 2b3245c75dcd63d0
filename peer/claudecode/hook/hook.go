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
	// defaultBudget limits how long a hook may take after it has read its event.
	defaultBudget = 40 * time.Millisecond
	// inputLimit is how long a hook waits for its event. Claude Code starts the hook before
	// it writes the event, and may be busy in between. If a hook misses the start of a
	// session, the daemon learns of the session only at the next prompt.
	inputLimit = 2 * time.Second
)

// Hook handles one event of one claude process. All fields except Dir and PID may be zero.
type Hook struct {
	Dir configdir.Dir
	PID int // of claude
	// ConfigDir is the absolute path of Claude Code's directory, or "" if unknown.
	ConfigDir string
	// Env looks up the variables that `claudemesh launch` sets. nil means that there are none.
	Env func(string) string
	// Build is the build of this program. A session that starts replaces an older daemon.
	Build local.Build
	// Detach hands an event to another process, which calls Deliver. If it is nil, the event
	// is lost.
	Detach func(Event) error
	// Logf logs. It may be nil.
	Logf func(format string, args ...any)

	budget time.Duration // 0 means defaultBudget
}

// Run reads the event, tells the daemon, and prints the text for the context, if there is
// any. It returns within its budget, 40 ms, after it has read the event. It never panics.
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
		budget = defaultBudget
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

// read reads the event, and gives up after inputLimit. Nothing can interrupt the read itself,
// so its goroutine may live until the process exits.
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
			_, err = io.Copy(io.Discard, in) // Claude Code complains if it can't write everything
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

// handle tells the daemon of the event and returns the pointer to print.
func (h *Hook) handle(ctx context.Context, e *Event) (p local.Pointer, err error) {
	if e.AgentID != "" {
		return p, errors.New("ignored: the event belongs to a subagent")
	}
	switch e.Name {
	case sessionStart:
		return p, h.start(ctx, e)
	case sessionEnd:
		return p, h.end(ctx, e)
	}
	a := h.activity(e)
	if a == nil {
		return p, errors.New("ignored: the event says nothing about the session")
	}
	p, err = h.tell(ctx, e, a)
	if unanswered(err) && len(a.Ended) > 0 {
		// Otherwise the daemon may never learn that the model has read the messages.
		err = errors.Join(err, h.detach(e))
	}
	return p, err
}

// print prints the pointer, and then confirms it to the daemon. Until then, the daemon assumes
// that the session has not seen the pointer.
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

// tell sends an activity of the session to the daemon.
func (h *Hook) tell(ctx context.Context, e *Event, a *local.Activity) (p local.Pointer, err error) {
	daemon, err := local.Owner(h.Dir)
	if err != nil {
		return p, err
	}
	err = daemon.Call(ctx, local.VerbActivity, a, &p)
	var refused *local.Error
	if errors.As(err, &refused) && e.Name == userPromptSubmit &&
		(refused.Code == local.CodeNotFound || refused.Code == local.CodeRefused) {
		// The daemon has missed the start of the session; register it now.
		if err = h.register(ctx, daemon, e); err == nil {
			err = daemon.Call(ctx, local.VerbActivity, a, &p)
		}
	}
	return p, err
}

// start registers the session. If the daemon is unreachable or older than this program, start
// also detaches the event.
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
		h.logf("find the start time of claude: %v", err) // the daemon then looks itself
	}
	r := register(e, h.PID, id.Start, env)
	r.Domain = process.Domain()
	r.ConfigDir = h.ConfigDir
	if parent, nested := h.parent(e); nested && env(EnvLaunch) != strconv.Itoa(h.PID) {
		// The variables of launch describe the parent.
		r.Parent, r.Name, r.Role, r.Groups = parent, "", "", nil
	}
	return r
}

// parent returns the claude process whose session has started this one, if there is one.
func (h *Hook) parent(e *Event) (pid int, nested bool) {
	pid, found := lineage.Find(h.Dir, h.PID, "")
	if !found {
		return 0, false
	}
	ticket, err := local.ReadTicket(h.Dir, pid)
	return pid, err == nil && ticket.SessionID != string(e.SessionID)
}

// end tells the daemon that the session ends. If no daemon runs, there is nothing to end; if
// the daemon has crashed, the next one ends the session's presence. Only /clear must reach a
// daemon in any case: the next session of the process inherits the messages of the one that
// /clear ends, and the start of that next session doesn't say so.
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

// activity returns what an event says about the session, or nil if it says nothing.
func (h *Hook) activity(e *Event) *local.Activity {
	a := activity(e, h.PID)
	if a != nil {
		a.Domain = process.Domain()
	}
	return a
}

// unanswered reports whether the outcome of a call is unknown.
func unanswered(err error) bool {
	var refused *local.Error
	return err != nil && !errors.As(err, &refused)
}

func (h *Hook) detach(e *Event) error {
	if h.Detach == nil {
		return nil
	}
	if err := h.Detach(*e); err != nil {
		return fmt.Errorf("detach %s: %w", e.Name, err)
	}
	h.logf("detached %s to another process", e.Name)
	return nil
}

func (h *Hook) logf(format string, args ...any) {
	if h.Logf != nil {
		h.Logf(format, args...)
	}
}

// output is the JSON with which a hook adds text to the context.
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
