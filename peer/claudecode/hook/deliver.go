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
	deliverTimeout = 30 * time.Second // for each
	deliverPause   = time.Second      // after a failed one
	maxHandedOver  = 64               // calls of a batch
)

// Spawn returns a Hook.Detach that runs the command in a session of its own, so
// that neither Claude Code nor a terminal ends or waits for it, with the event on
// its standard input and pid as its CLAUDE_PID.
func Spawn(pid int, name string, args ...string) func(Event) error {
	return func(e Event) error {
		e.Prompt = "" // what is handed over has to fit into a pipe, and never has one
		e.Calls = e.Calls[:min(len(e.Calls), maxHandedOver)]
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
		cmd.Dir = "/" // not to keep a directory busy
		cmd.Env = append(os.Environ(), lineage.EnvPID+"="+strconv.Itoa(pid))
		cmd.Stdin = r // and no output: Claude Code would wait for the end of its pipes
		cmd.SysProcAttr = system.Detached()
		if err := cmd.Start(); err != nil {
			return err
		}
		// All of the event's fields are bounded, so that the pipe takes it at once.
		_, err = w.Write(b)
		return err
	}
}

// Deliver reads an event that was handed over, makes sure that a daemon runs, and
// tells it of the event. It takes its time: start may take several seconds.
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
		a.WantPointer = false // nobody prints it any more
		return daemon.Call(ctx, local.VerbActivity, a, nil)
	}
	return fmt.Errorf("%s is never handed over", e.Name)
}
