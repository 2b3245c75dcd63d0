package claude

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/tests/internal/claude"
)

// TestStatus checks the status that peers see, also in situations without a hook.
func TestStatus(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		b := bob.Start(t, "claudemesh", "launch", "-y", "--quiet", "--name", "bob", "--", "--permission-mode", "manual")
		alice.awaitRow(b, "idle")

		b.Type("[[slow 200]]")
		b.AwaitStatus("busy")
		alice.awaitRow(b, "working")
		b.Escape() // runs no hook
		b.AwaitStatus("idle")
		alice.awaitRow(b, "idle")

		b.Type(`[[tool Bash {"command":"touch asked","description":"d"}]]`)
		b.AwaitDialog()
		if r := alice.awaitRow(b, "working"); r.Reason != "waiting" {
			alice.await("alice sees that bob is asked", func() bool { return alice.awaitRow(b, "working").Reason == "waiting" })
		}
		b.Turn(b.Allow)
		if r := alice.awaitRow(b, "idle"); r.Reason != "" {
			t.Errorf("alice sees %+v", r)
		}

		b.Type("[[error 400]]")
		alice.awaitRow(b, "idle")
		if code := b.Exit(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		alice.await("alice sees that bob has left", func() bool { rows := alice.sessions(); return rows != nil && len(rows) == 0 })
		if screen := b.Screen(); strings.Contains(screen, "hook error") {
			t.Errorf("hooks failed:\n%s", screen)
		}
	})
}

// TestStatusInSecondConfigDir presses Esc in a session whose CLAUDE_CONFIG_DIR differs from
// the daemon's.
func TestStatusInSecondConfigDir(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		bob.must("daemon", "up")
		second := filepath.Join(bob.Dir, claude.SecondConfig)
		if err := os.Mkdir(second, 0o700); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(bob.Dir, ".claude.json"))
		if err == nil {
			err = os.WriteFile(filepath.Join(second, ".claude.json"), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		b := bob.Start(t, "env", "CLAUDE_CONFIG_DIR="+second, "claudemesh", "launch", "-y", "--quiet", "--name", "bob")
		status := func(want string) {
			t.Helper()
			alice.await("alice sees that bob is "+want, func() bool {
				rows := alice.sessions()
				return len(rows) == 1 && rows[0].Status == want
			})
		}
		status("idle")
		b.Type("[[slow 2000]]")
		status("working")
		b.Escape()
		status("idle")
		if code := b.Exit(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}
