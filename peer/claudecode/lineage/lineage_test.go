package lineage

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
)

func TestFromEnv(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		want        int
	}{
		{"given", "4711", 4711},
		{"not given", "", os.Getppid()},
		{"no number", "x", os.Getppid()},
		{"the first of a container", "1", 1},
		{"none", "0", os.Getppid()},
		{"negative", "-5", os.Getppid()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv(EnvPID, tc.value)
			if got := FromEnv(); got != tc.want {
				t.Errorf("FromEnv = %d, want %d", got, tc.want)
			}
		})
	}
}

func TestParent(t *testing.T) {
	t.Parallel()
	got, err := parent(os.Getpid())
	if err != nil || got != os.Getppid() {
		t.Errorf("parent = %d, %v; want %d", got, err, os.Getppid())
	}
	if _, err := parent(1 << 30); err == nil {
		t.Error("got the parent of a process that can't exist")
	}
}

const session = "0b5ad3c2-6f5e-4a7b-9c1d-2e3f40516273"

func TestFind(t *testing.T) {
	t.Parallel()
	ours, err := process.Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	child := daemontest.Child(t)
	for _, tc := range []struct {
		name    string
		ticket  local.Ticket
		session string
		found   bool
	}{
		{"same session", local.Ticket{ProcStart: ours.Start, SessionID: session}, session, true},
		{"same in capitals", local.Ticket{ProcStart: ours.Start, SessionID: session}, "0B5AD3C2-6F5E-4A7B-9C1D-2E3F40516273", true},
		{"any session", local.Ticket{ProcStart: ours.Start, SessionID: session}, "", true},
		{"start not known", local.Ticket{SessionID: session}, session, true},
		{"of an outer claude", local.Ticket{ProcStart: ours.Start, SessionID: "11111111-1111-4111-8111-111111111111"}, session, false},
		{"left by a namesake", local.Ticket{ProcStart: "1", SessionID: session}, session, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := peer.Dir(t.TempDir())
			tc.ticket.PID = os.Getpid()
			writeTicket(t, dir, tc.ticket)
			pid, ok := Find(dir, child.Process.Pid, tc.session)
			if ok != tc.found || ok && pid != os.Getpid() {
				t.Errorf("Find = %d, %v; want found: %v", pid, ok, tc.found)
			}
		})
	}
	if _, ok := Find(peer.Dir(t.TempDir()), child.Process.Pid, ""); ok {
		t.Error("Find found a session in a directory without any")
	}
}

func TestWhile(t *testing.T) {
	t.Parallel()
	child := daemontest.Child(t)
	ctx, stop := While(t.Context(), child.Process.Pid, time.Millisecond)
	defer stop()
	if ctx.Err() != nil {
		t.Fatal("the context ended although the process is alive")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(await.Patience):
		t.Fatal("the end of the process was not noticed")
	}
	if cause := context.Cause(ctx); !errors.Is(cause, ErrEnded) {
		t.Errorf("cause = %v, want ErrEnded", cause)
	}

	ctx, stop = While(t.Context(), child.Process.Pid, time.Hour)
	defer stop()
	if !errors.Is(context.Cause(ctx), ErrEnded) {
		t.Error("a process that had already ended was taken for alive")
	}

	ctx, stop = While(t.Context(), os.Getpid(), time.Hour)
	stop()
	if errors.Is(context.Cause(ctx), ErrEnded) || ctx.Err() == nil {
		t.Errorf("after stop: %v", context.Cause(ctx))
	}
}

func writeTicket(t *testing.T, dir peer.Dir, ticket local.Ticket) {
	t.Helper()
	b, err := json.Marshal(ticket)
	if err != nil {
		t.Fatal(err)
	}
	path := local.TicketPath(dir, process.Here(ticket.PID))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
