package claude

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
)

// Session is a process of Claude Code and a user at its terminal.
type Session struct {
	t    testing.TB
	home *Home
	terminal
}

// terminal is the terminal of a process.
type terminal interface {
	// PID returns the process id, which doesn't change when a launcher execs claude.
	PID() int
	// Screen returns the visible or printed text.
	Screen() string
	// Picture returns the visible text with its colors as SGR sequences.
	Picture() string
	// Exited returns the exit code once the process has ended.
	Exited() (code int, ended bool)

	text(text string) // types a text without Enter
	line(text string) // types a text and Enter
	dialog() bool     // reports whether the dialog that the process publishes is visible
	escape()
	enter()
}

// Start starts claude, or a command that execs it, in a terminal, and waits until it accepts
// input.
func (h *Home) Start(t testing.TB, argv ...string) *Session {
	t.Helper()
	return h.startIn(t, h.Project, argv...)
}

// startIn is Start in another folder.
func (h *Home) startIn(t testing.TB, dir string, argv ...string) *Session {
	t.Helper()
	s := h.Open(t, dir, argv...)
	s.await("it is ready", func() bool {
		if code, ended := s.Exited(); ended {
			t.Fatalf("%v has ended with exit code %d:\n%s", argv, code, s.Screen())
		}
		return s.Status() == "idle" && strings.Contains(s.Screen(), "❯")
	})
	return s
}

// Open is like Start in another folder, but does not wait.
func (h *Home) Open(t testing.TB, dir string, argv ...string) *Session {
	t.Helper()
	s := &Session{t: t, home: h}
	if h.program.Real {
		s.terminal = openTmux(t, h, dir, argv)
	} else {
		s.terminal = openPipe(t, h, dir, argv)
	}
	t.Cleanup(func() {
		if _, ended := s.Exited(); !ended {
			s.Kill()
		}
		if t.Failed() {
			t.Logf("terminal of %v (pid %d):\n%s", argv, s.PID(), s.Screen())
		}
	})
	return s
}

// Published returns what Claude Code publishes about this process now.
func (s *Session) Published() Published {
	p, _ := s.home.Published(s.PID())
	return p
}

// ID returns the session's id.
func (s *Session) ID() string { return s.Published().SessionID }

// Status returns busy, idle or waiting. It returns idle for Claude Code's "shell", which means idle
// with a monitor or another background command.
func (s *Session) Status() string { return s.Published().status() }

func (p Published) status() string {
	if p.Status == "shell" {
		return "idle"
	}
	return p.Status
}

// Type types a line and Enter.
func (s *Session) Type(text string) {
	s.t.Helper()
	s.line(text)
}

// Write types without Enter.
func (s *Session) Write(text string) { s.text(text) }

// Enter presses Enter.
func (s *Session) Enter() { s.enter() }

// Ask types a prompt and waits until its turn is over.
func (s *Session) Ask(prompt string) {
	s.t.Helper()
	s.Turn(func() { s.Type(prompt) })
}

// Turn calls begin, which starts a turn, and waits until a turn is over.
func (s *Session) Turn(begin func()) {
	s.t.Helper()
	before := s.home.API.Turns(s.ID())
	begin()
	// The model answers while the status is busy.
	s.await("the turn is over", func() bool { return s.home.API.Turns(s.ID()) > before && s.Status() == "idle" })
}

// AwaitStatus waits for a published status.
func (s *Session) AwaitStatus(status string) {
	s.t.Helper()
	s.await("the status is "+status, func() bool { return s.Status() == status })
}

// Escape presses Esc.
func (s *Session) Escape() { s.escape() }

// Allow waits for a permission dialog and answers yes.
func (s *Session) Allow() {
	s.t.Helper()
	s.AwaitDialog()
	shown := s.Published().StatusUpdatedAt
	var pressed time.Time
	s.await("the dialog is answered", func() bool {
		// A key that comes too soon after the dialog is ignored.
		if time.Since(pressed) > time.Second {
			s.enter()
			pressed = time.Now()
		}
		return s.Published().StatusUpdatedAt != shown
	})
}

// AwaitDialog waits for a permission dialog.
func (s *Session) AwaitDialog() {
	s.t.Helper()
	s.await("permission is asked for", func() bool { return s.Status() == "waiting" && s.dialog() })
}

// Clear types /clear and returns the id of the new session.
func (s *Session) Clear() string {
	s.t.Helper()
	old := s.ID()
	s.line("/clear")
	s.await("a new session has begun", func() bool { return s.ID() != old && s.Status() == "idle" })
	return s.ID()
}

// Exit types /exit and returns the exit code.
func (s *Session) Exit() int {
	s.t.Helper()
	s.line("/exit")
	return s.Wait()
}

// Wait waits until the process exits and returns its exit code.
func (s *Session) Wait() int {
	s.t.Helper()
	s.await("it has ended", func() bool { _, ended := s.Exited(); return ended })
	code, _ := s.Exited()
	return code
}

// Signal sends a signal to the process.
func (s *Session) Signal(sig syscall.Signal) {
	if err := syscall.Kill(s.PID(), sig); err != nil && err != syscall.ESRCH {
		s.t.Errorf("send %v to %d: %v", sig, s.PID(), err)
	}
}

// Kill kills the process with SIGKILL and waits until it has ended.
func (s *Session) Kill() {
	s.t.Helper()
	s.Signal(syscall.SIGKILL)
	s.Wait()
}

func (s *Session) await(what string, ok func() bool) {
	s.t.Helper()
	await.Until(s.t, what, ok, func() string {
		return fmt.Sprintf("%+v\n%s", s.Published(), s.Screen())
	})
}

func readText(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(b)
}
