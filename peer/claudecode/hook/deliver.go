package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	deliverTries   = 3
	deliverTimeout = 30 * time.Second // per try
	deliverPause   = time.Second      // after a failed try
	maxDetached    = 64               // calls of a batch
)

// spawn returns a Hook.Detach that runs the command as a new session of the operating
// system, so that Claude Code and the terminal can't end it and don't wait for it. The
// command gets the event on its standard input, and pid as CLAUDE_PID.
func spawn(pid int, name string, args ...string) func(Event) error {
	return func(e Event) error {
		// The event must fit into a pipe. No detached event needs its prompt.
		e.Prompt = ""
		e.Calls = e.Calls[:min(len(e.Calls), maxDetached)]
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		defer w.Close()
		cmd := exec.Command(name, args...)
		cmd.Dir = "/" // so as not to keep a directory busy
		cmd.Env = append(os.Environ(), lineage.EnvPID+"="+strconv.Itoa(pid))
		cmd.Stdin = r // no output: Claude Code would wait until the pipes close
		cmd.SysProcAttr = system.Detached()
		if err := cmd.Start(); err != nil {
			return err
		}
		// The event's fields are limited, so it fits into the pipe and this doesn't block.
		_, err = w.Write(b)
		return err
	}
}

// Deliver reads a detached event, starts the daemon if necessary, and tells it of the event.
// This may take several seconds.
func (h *Hook) Deliver(ctx context.Context, in io.Reader, start func(context.Context) error) error {
	b, err := io.ReadAll(io.LimitReader(in, MaxInput+1))
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	e, err := Parse(b)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := h.deliver(ctx, &e, start)
		h.logf("deliver %s of session %s, process %d, error: %v", e.Name, e.SessionID, h.PID, err)
		if !unanswered(err) || try == deliverTries {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(deliverPause):
		}
	}
}

func (h *Hook) deliver(ctx context.Context, e *Event, start func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, deliverTimeout)
	defer cancel()
	if err := start(ctx); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	daemon, err := local.Owner(h.Dir)
	if err != nil {
		return err
	}
	switch e.Name {
	case sessionStart:
		return daemon.Call(ctx, local.VerbRegister, h.registration(e), nil)
	case sessionEnd:
		return daemon.Call(ctx, local.VerbEnd, h.ending(e), nil)
	case postToolBatch:
		a := h.activity(e)
		a.WantPointer = false // the hook that could print it has ended
		return daemon.Call(ctx, local.VerbActivity, a, nil)
	}
	return fmt.Errorf("deliver %s: such an event is never detached", e.Name)
}
