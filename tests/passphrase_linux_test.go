package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestPassphraseInATerminal types passphrases, which the terminal must not show.
func TestPassphraseInATerminal(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	bob := newPerson(t, s)
	bob.must("create", "team", "--display-name", "bob")
	file := filepath.Join(t.TempDir(), "bob.backup")
	const secret = "correct horse battery"

	tty := bob.inTerminal("backup", file)
	tty.await("Passphrase: ")
	tty.keys("short\n")
	tty.ends(2, "8 characters")

	tty = bob.inTerminal("backup", file)
	tty.await("Passphrase: ")
	tty.keys(secret + "\n")
	tty.await("The same again: ")
	tty.keys(secret + "!\n")
	tty.ends(1, "not the same")

	tty = bob.inTerminal("backup", file)
	tty.await("Passphrase: ")
	tty.keys("\x03")
	tty.ends(1, "interrupted")
	if !tty.echoes() {
		t.Error("after Ctrl-C the terminal does not show what is typed")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was written")
	}

	tty = bob.inTerminal("backup", file)
	tty.await("Passphrase: ")
	tty.keys(secret + "\n")
	tty.await("The same again: ")
	tty.keys(secret + "\n")
	tty.ends(0, "The backup holds 1 member key")
	if strings.Contains(tty.screen(), "horse") || !tty.echoes() {
		t.Errorf("the terminal shows:\n%s", tty.screen())
	}

	again := newPerson(t, s)
	tty = again.inTerminal("restore", file)
	tty.await("Passphrase: ")
	tty.keys(secret + "\n")
	tty.ends(0, "1 membership")
	again.must("peers")
}

// terminal is a command in a terminal.
type terminal struct {
	*process
	master *os.File

	mu    sync.Mutex
	shown strings.Builder // guarded by mu
}

// inTerminal starts a command in a terminal of its own.
func (p *person) inTerminal(args ...string) *terminal {
	p.t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := p.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	tty := &terminal{process: &process{t: p.t, cmd: cmd, done: make(chan struct{})}, master: master}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for b := make([]byte, 4096); ; {
			n, err := master.Read(b)
			tty.mu.Lock()
			tty.shown.Write(b[:n])
			tty.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		_ = cmd.Wait()
		close(tty.done)
	}()
	p.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended, unless the test failed
		<-tty.done
		slave.Close()
		master.Close()
		<-read
	})
	return tty
}

func (tty *terminal) screen() string {
	tty.mu.Lock()
	defer tty.mu.Unlock()
	return tty.shown.String()
}

func (tty *terminal) await(text string) {
	tty.t.Helper()
	await.Until(tty.t, fmt.Sprintf("the terminal shows %q", text), func() bool { return strings.Contains(tty.screen(), text) && !tty.echoes() })
}

func (tty *terminal) keys(text string) {
	tty.t.Helper()
	if _, err := tty.master.WriteString(text); err != nil {
		tty.t.Fatal(err)
	}
}

// ends awaits the end of the command.
func (tty *terminal) ends(code int, says string) {
	tty.t.Helper()
	<-tty.done
	await.Until(tty.t, fmt.Sprintf("the terminal shows %q", says), func() bool { return strings.Contains(tty.screen(), says) })
	if got := tty.cmd.ProcessState.ExitCode(); got != code {
		tty.t.Errorf("exit code %d, want %d:\n%s", got, code, tty.screen())
	}
}

// echoes reports whether the terminal shows what is typed.
func (tty *terminal) echoes() bool {
	state, err := unix.IoctlGetTermios(int(tty.master.Fd()), unix.TCGETS)
	return err == nil && state.Lflag&unix.ECHO != 0
}
