package claude

import (
	"os"
	"path/filepath"
	"testing"
)

// keys returns the person's session key files.
func (p *person) keys() []string {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.Dir, ".claudemesh", "sessions", "*", "*.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	return files
}

// TestLaunchComesBack checks that a resumed session is in the same meshes as before, even if
// the user has joined others meanwhile.
func TestLaunchComesBack(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		b := bob.launch()
		key := alice.awaitRow(b, "idle").Pubkey
		b.Ask("hello")
		id := b.ID()
		b.Exit()
		bob.must("create", "another", "--display-name", "bob")
		for _, args := range [][]string{{"--resume", id}, {"--continue"}} {
			b = bob.launch(args...)
			if b.ID() != id {
				t.Fatalf("bob is back as %s", b.ID())
			}
			if r := alice.awaitRow(b, "idle"); r.Pubkey != key {
				t.Errorf("bob is back with another key")
			}
			b.Exit()
		}
		if out, errOut, code := bob.Run(t, "claudemesh", "launch", "-y"); code == 0 {
			t.Errorf("a new session doesn't need --mesh: %s%s", out, errOut)
		}
	})
}

// TestLaunchThatFails checks that nothing remains of a session that never started.
func TestLaunchThatFails(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		b := bob.launch()
		alice.awaitRow(b, "idle")
		before := bob.keys()
		if len(before) == 0 {
			t.Fatal("bob has no key")
		}
		if out, errOut, code := bob.Run(t, "claudemesh", "launch", "-y", "--name", "never", "--", "--bogus"); code == 0 {
			t.Errorf("claude takes --bogus: %s%s", out, errOut)
		}
		bob.await("nothing is left of it", func() bool { return len(bob.keys()) == len(before) })
		alice.await("alice sees one session", func() bool { return len(alice.sessions()) == 1 })
		for _, file := range before {
			if _, err := os.Stat(file); err != nil {
				t.Errorf("the key of the session that lives: %v", err)
			}
		}
	})
}
