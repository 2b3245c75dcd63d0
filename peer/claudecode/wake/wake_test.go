package wake

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
)

// streams serves wake with the values from a channel, until end or until the caller leaves.
type streams struct {
	opened chan local.Wake
	lines  chan local.Woken
	end    chan struct{} // each value ends one stream
}

func serveWake(d *daemontest.Server) *streams {
	s := &streams{opened: make(chan local.Wake, 8), lines: make(chan local.Woken), end: make(chan struct{})}
	d.HandleFunc(local.VerbWake, func(w http.ResponseWriter, r *http.Request) {
		var in local.Wake
		_ = json.NewDecoder(r.Body).Decode(&in)
		_ = json.NewEncoder(w).Encode(local.Woken{})
		w.(http.Flusher).Flush()
		s.opened <- in
		for {
			select {
			case <-r.Context().Done():
				return
			case <-s.end:
				return
			case line := <-s.lines:
				_ = json.NewEncoder(w).Encode(line)
				w.(http.Flusher).Flush()
			}
		}
	})
	return s
}

// receive takes from a channel, or fails the test.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(await.Patience):
		t.Fatalf("timed out waiting for %s", what)
		panic("unreachable")
	}
}

func send[T any](t *testing.T, c chan<- T, v T, what string) {
	t.Helper()
	select {
	case c <- v:
	case <-time.After(await.Patience):
		t.Fatalf("nobody received %s", what)
	}
}

// listen listens in the background. It sends the pointers and then the error to the channels.
func listen(t *testing.T, l *Listener) (<-chan string, <-chan error) {
	pointers, ended := make(chan string, 8), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- l.Listen(ctx, func(p string) error { pointers <- p; return nil })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return pointers, ended
}

func TestListen(t *testing.T) {
	t.Parallel()
	dir := daemontest.Dir(t)
	d := daemontest.Start(t, dir)
	s := serveWake(d)
	daemontest.Ticket(t, dir, os.Getpid(), daemontest.Session, daemontest.SessionToken)
	pointers, ended := listen(t, &Listener{Dir: dir, PID: os.Getpid(), Path: local.PathChannel})

	if w := receive(t, s.opened, "the stream"); w.Path != local.PathChannel || w.PID != os.Getpid() {
		t.Errorf("asked for %+v", w)
	}
	send(t, s.lines, local.Woken{}, "a sign of life")
	send(t, s.lines, local.Woken{Pointer: "one"}, "a pointer")
	if p := receive(t, pointers, "the pointer"); p != "one" {
		t.Errorf("pointer %q", p)
	}
	send(t, s.end, struct{}{}, "the end of the stream")
	receive(t, s.opened, "another stream after the end of the first")
	send(t, s.lines, local.Woken{Pointer: "two", Over: true}, "the last pointer")
	if p := receive(t, pointers, "the pointer"); p != "two" {
		t.Errorf("pointer %q", p)
	}
	if err := receive(t, ended, "the end"); !errors.Is(err, ErrOver) {
		t.Errorf("ended with %v", err)
	}
}

func TestListenOutlivesDaemon(t *testing.T) {
	t.Parallel()
	for _, crash := range []bool{false, true} {
		dir := daemontest.Dir(t)
		d := daemontest.Start(t, dir)
		s := serveWake(d)
		daemontest.Ticket(t, dir, os.Getpid(), daemontest.Session, daemontest.SessionToken)
		revived := make(chan struct{}, 8)
		_, _ = listen(t, &Listener{Dir: dir, PID: os.Getpid(), Path: local.PathMonitor,
			Revive: func(context.Context) error { revived <- struct{}{}; return nil }})
		receive(t, s.opened, "the stream")
		if crash {
			d.Crash()
			receive(t, revived, "the daemon to be started again")
		} else {
			d.Stop()
		}
		// The next daemon may use another token.
		next := daemontest.Start(t, dir)
		next.SetToken("another")
		again := serveWake(next)
		daemontest.Ticket(t, dir, os.Getpid(), daemontest.Session, "another")
		receive(t, again.opened, "the stream of the next daemon")
		if n := len(revived); n != 0 {
			t.Errorf("crash %v: restarted %d times too often", crash, n)
		}
	}
}

func TestListenEnds(t *testing.T) {
	t.Parallel()
	dir := daemontest.Dir(t)
	impatient := &Listener{Dir: dir, PID: os.Getpid(), Path: local.PathWaiter, Patience: time.Nanosecond}
	if err := impatient.Listen(t.Context(), nil); !errors.Is(err, errPatience) || !errors.Is(err, local.ErrNotRunning) {
		t.Errorf("without a daemon: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(lineage.ErrEnded)
	patient := &Listener{Dir: dir, PID: os.Getpid(), Path: local.PathMonitor}
	if err := patient.Listen(ctx, nil); !errors.Is(err, lineage.ErrEnded) {
		t.Errorf("after the end of claude: %v", err)
	}
}

// startMonitor runs a monitor; the test process plays claude.
func startMonitor(t *testing.T, o Options) (*bufio.Scanner, <-chan error) {
	r, w := io.Pipe()
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		ended <- Monitor(ctx, o, w)
	}()
	t.Cleanup(func() { cancel(); _ = r.Close(); <-done })
	return bufio.NewScanner(r), ended
}

func TestMonitor(t *testing.T) {
	t.Parallel()
	// The claude above this process is its parent: the go command, as it happens.
	claude, dir := os.Getppid(), daemontest.Dir(t)
	d := daemontest.Start(t, dir)
	s := serveWake(d)
	out, ended := startMonitor(t, Options{Dir: dir, PID: claude})
	daemontest.Ticket(t, dir, claude, sessionOfEnv(), daemontest.SessionToken) // the ticket may appear after the monitor starts

	if w := receive(t, s.opened, "the stream"); w.Path != local.PathMonitor || w.PID != claude {
		t.Errorf("asked for %+v", w)
	}
	send(t, s.lines, local.Woken{Pointer: "2 unread\nmesh\x1b messages"}, "a pointer")
	if !out.Scan() || out.Text() != `2 unread\nmesh\u{1B} messages` {
		t.Errorf("printed %q", out.Text())
	}
	send(t, s.lines, local.Woken{Over: true}, "the take-over")
	select {
	case err := <-ended:
		t.Fatalf("the monitor ended although claude is alive: %v", err)
	case <-time.After(50 * time.Millisecond): // long enough to end by mistake
	}
}

// sessionOfEnv returns the session that a ticket for this process must have.
func sessionOfEnv() string {
	if s := os.Getenv(lineage.EnvSession); s != "" {
		return s
	}
	return daemontest.Session
}

func TestMonitorEndsWithClaude(t *testing.T) {
	t.Parallel()
	claude := daemontest.Child(t)
	_, ended := startMonitor(t, Options{Dir: daemontest.Dir(t), PID: claude.Process.Pid})
	if err := claude.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, ended, "the end of the monitor"); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		act  func(*testing.T, peer.Dir, *streams, *exec.Cmd)
		want string
	}{
		{"a pointer", func(t *testing.T, _ peer.Dir, s *streams, _ *exec.Cmd) {
			send(t, s.lines, local.Woken{Pointer: "1 unread"}, "a pointer")
		}, "1 unread"},
		{"a better path", func(t *testing.T, _ peer.Dir, s *streams, _ *exec.Cmd) {
			send(t, s.lines, local.Woken{Over: true}, "the take-over")
		}, ""},
		{"the end of claude", func(t *testing.T, _ peer.Dir, _ *streams, claude *exec.Cmd) {
			if err := claude.Process.Kill(); err != nil {
				t.Error(err)
			}
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			claude, dir := daemontest.Child(t), daemontest.Dir(t)
			s := serveWake(daemontest.Start(t, dir))
			waited := make(chan string, 1)
			go func() { waited <- Wait(t.Context(), Options{Dir: dir, PID: claude.Process.Pid}) }()
			// The hook that registers the session runs beside the waiter.
			daemontest.Ticket(t, dir, claude.Process.Pid, daemontest.Session, daemontest.SessionToken)
			if w := receive(t, s.opened, "the stream"); w.Path != local.PathWaiter {
				t.Errorf("asked for %+v", w)
			}
			tc.act(t, dir, s, claude)
			if got := receive(t, waited, "the end of the waiter"); got != tc.want {
				t.Errorf("Wait = %q, want %q", got, tc.want)
			}
		})
	}
}
