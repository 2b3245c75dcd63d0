package tests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/internal/await"
)

// terminal is a command in its own terminal, into which a test types.
type terminal struct {
	t    testing.TB
	cmd  *exec.Cmd
	tty  *os.File
	done chan struct{}

	mu   sync.Mutex
	seen bytes.Buffer
}

// terminal starts claudemesh in a terminal.
func (p *person) terminal(args ...string) *terminal {
	p.t.Helper()
	return openTerminal(p.t, p.command(args...), nil)
}

// openTerminal starts a command in a terminal. size may be nil.
func openTerminal(t testing.TB, cmd *exec.Cmd, size *pty.Winsize) *terminal {
	t.Helper()
	tty, err := pty.StartWithSize(cmd, size)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, cmd: cmd, tty: tty, done: make(chan struct{})}
	go func() {
		defer close(term.done)
		b := make([]byte, 4096)
		for {
			n, err := tty.Read(b) // fails after the command ends
			term.mu.Lock()
			term.seen.Write(b[:n])
			term.mu.Unlock()
			if err != nil {
				break
			}
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		term.interrupt()
		_ = cmd.Process.Kill()
		<-term.done
		_ = tty.Close()
	})
	return term
}

// interrupt sends SIGINT to the terminal's foreground command. A typed Ctrl-C would be lost
// if the shell died before the kernel read it, and the command would go on without a shell.
func (term *terminal) interrupt() {
	conn, err := term.tty.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		if group, err := unix.IoctlGetInt(int(fd), unix.TIOCGPGRP); err == nil && group > 0 {
			_ = unix.Kill(-group, unix.SIGINT)
		}
	})
}

// screen returns everything that the command has printed.
func (term *terminal) screen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return strings.ReplaceAll(term.seen.String(), "\r\n", "\n")
}

// awaits waits until the command has printed a text.
func (term *terminal) awaits(text string) {
	term.t.Helper()
	await.Until(term.t, fmt.Sprintf("%v says %q", term.cmd.Args, text), func() bool { return strings.Contains(term.screen(), text) }, term.screen)
}

// types types a text; "\x03" is Ctrl-C and "\x04" is Ctrl-D.
func (term *terminal) types(text string) {
	term.t.Helper()
	if _, err := term.tty.WriteString(text); err != nil {
		term.t.Fatal(err)
	}
}

// ends waits until the command exits with the exit code.
func (term *terminal) ends(code int) {
	term.t.Helper()
	select {
	case <-term.done:
	case <-time.After(patience):
		term.t.Fatalf("%v did not end:\n%s", term.cmd.Args, term.screen())
	}
	if got := term.cmd.ProcessState.ExitCode(); got != code {
		term.t.Errorf("%v: exit code %d, want %d:\n%s", term.cmd.Args, got, code, term.screen())
	}
}
