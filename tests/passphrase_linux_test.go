package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestPassphraseInATerminal types passphrases. The terminal must not show them.
func TestPassphraseInATerminal(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	bob := newPerson(t, s)
	bob.must("create", "team", "--display-name", "bob")
	file := filepath.Join(t.TempDir(), "bob.backup")
	const secret = "correct horse battery"

	tty := bob.terminal("backup", file)
	tty.awaitsHidden("Passphrase: ")
	tty.types("short\n")
	tty.ends(2)
	tty.awaits("8 characters")

	tty = bob.terminal("backup", file)
	tty.awaitsHidden("Passphrase: ")
	tty.types(secret + "\n")
	tty.awaitsHidden("Repeat the passphrase: ")
	tty.types(secret + "!\n")
	tty.ends(1)
	tty.awaits("differ")

	tty = bob.terminal("backup", file)
	tty.awaitsHidden("Passphrase: ")
	tty.types("\x03")
	tty.ends(130)
	tty.awaits("interrupted")
	if !tty.echoes() {
		t.Error("after Ctrl-C the terminal doesn't echo typed text")
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was written")
	}

	tty = bob.terminal("backup", file)
	tty.awaitsHidden("Passphrase: ")
	tty.types(secret + "\n")
	tty.awaitsHidden("Repeat the passphrase: ")
	tty.types(secret + "\n")
	tty.ends(0)
	tty.awaits("The backup contains 1 member key")
	if strings.Contains(tty.screen(), "horse") || !tty.echoes() {
		t.Errorf("the terminal shows:\n%s", tty.screen())
	}

	again := newPerson(t, s)
	tty = again.terminal("restore", file)
	tty.awaitsHidden("Passphrase: ")
	tty.types(secret + "\n")
	tty.ends(0)
	tty.awaits("1 membership")
	again.must("peers")
}

// echoes reports whether the terminal echoes typed text.
func (term *terminal) echoes() bool {
	state, err := unix.IoctlGetTermios(int(term.tty.Fd()), unix.TCGETS)
	return err == nil && state.Lflag&unix.ECHO != 0
}

// awaitsHidden is awaits for a question whose answer the terminal doesn't echo.
func (term *terminal) awaitsHidden(text string) {
	term.t.Helper()
	await.Until(term.t, fmt.Sprintf("the terminal asks %q", text), func() bool { return strings.Contains(term.screen(), text) && !term.echoes() })
}
