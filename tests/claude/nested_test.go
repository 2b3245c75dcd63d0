package claude

import (
	"testing"
)

// TestNested runs claude -p in a tool of a session. It must be a separate peer, named after
// the outer session.
func TestNested(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		bob.must("install")
		b := bob.Start(t, "claudemesh", "launch", "-y", "--quiet", "--name", "web", "--", "--permission-mode", "manual", "--allowedTools", "Bash")
		alice.awaitRow(b, "idle")
		b.Type(`[[tool Bash {"command":"claude -p '[[slow 40]]' </dev/null","description":"d"}]]`)
		alice.await("alice sees both, under names of their own", func() bool {
			outer, inner := 0, 0
			for _, r := range alice.sessions() {
				switch {
				case r.SessionID == b.ID():
					outer++
				case r.DisplayName == "web-"+r.SessionID[:8]:
					inner++
				default:
					t.Fatalf("alice sees %+v", r)
				}
			}
			return outer == 1 && inner == 1
		})
		alice.await("the inner one has left", func() bool { return len(alice.sessions()) == 1 })
	})
}
