package claude

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/tests/internal/claude"
)

// complaint matches Claude Code's messages about programs that it could not run.
var complaint = regexp.MustCompile(`(?i)hook[^\n]*(error|failed)|failed with|ENOENT|not found|no such file|stream ended|script (failed|completed)`)

// ownProgram gives the person a copy of claudemesh and returns the functions that remove and
// restore it.
func (p *person) ownProgram() (remove, restore func()) {
	p.t.Helper()
	bin := filepath.Join(p.Dir, "own")
	if err := os.CopyFS(bin, os.DirFS(commands.Dir)); err != nil {
		p.t.Fatal(err)
	}
	for i, entry := range p.Env {
		if strings.HasPrefix(entry, "PATH=") {
			p.Env[i] = strings.Replace(entry, commands.Dir, bin, 1)
		}
	}
	rename := func(from, to string) func() {
		return func() {
			p.t.Helper()
			if err := os.Rename(from, to); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	remove, restore = rename(bin, bin+"-gone"), rename(bin+"-gone", bin)
	p.t.Cleanup(func() { _ = os.Rename(bin+"-gone", bin) }) // needed to stop the daemon
	return remove, restore
}

// TestProgramGone removes claudemesh during a session, like a package manager, and restores
// it. Claude Code must not show errors, nothing must wake the model twice, and no message
// must get lost.
func TestProgramGone(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		remove, restore := bob.ownProgram()
		a, b := alice.launch(), bob.launch()
		alice.awaitRow(b, "idle")
		b.Ask("hello")

		remove()
		b.Ask(`[[tool Bash {"command":"true","description":"d"}]]`)
		w.say(a, "bob", "while it is gone") // running processes continue
		w.awaitReceived(b.ID(), "while it is gone")
		b.AwaitStatus("idle")
		turns := w.api.Turns(b.ID())
		b.Ask("and on")
		if n := w.api.Turns(b.ID()); n != turns+1 {
			t.Errorf("%d turns for one prompt", n-turns)
		}
		bob.quiet(b)

		restore()
		b.Ask("again")
		w.say(a, "bob", "when it is back")
		w.awaitReceived(b.ID(), "while it is gone", "when it is back")
		b.AwaitStatus("idle")
		bob.quiet(b)

		remove()
		if code := b.Exit(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		bob.quiet(b)
	})
}

// TestProgramGoneBefore starts a session while the installed claudemesh is missing. The
// session runs without a mesh until claudemesh is back.
func TestProgramGoneBefore(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		remove, restore := bob.ownProgram()
		bob.must("install")
		bob.must("daemon", "up")
		remove()
		b := bob.Start(t, "claude", "--name", "plain")
		b.Ask(`[[tool Bash {"command":"true","description":"d"}]]`)
		if n := w.api.Turns(b.ID()); n != 1 {
			t.Errorf("%d turns for one prompt", n)
		}
		bob.quiet(b)
		restore()
		await.Until(t, "a prompt makes it a session of the mesh", func() bool {
			b.Ask("again") // on a busy machine a hook may time out
			return len(alice.sessions()) == 1
		})
		alice.awaitRow(b, "idle")
		b.Exit()
		bob.quiet(b)
	})
}

// quiet checks that the session's screen shows no complaint.
func (p *person) quiet(s *claude.Session) {
	p.t.Helper()
	// Claude Code reports once, at the start, that it can't start the MCP server.
	screen := regexp.MustCompile(`(?m)^MCP server .*$`).ReplaceAllString(s.Screen(), "")
	if found := complaint.FindString(screen); found != "" {
		p.t.Errorf("%q is on the screen:\n%s", found, s.Screen())
	}
}
