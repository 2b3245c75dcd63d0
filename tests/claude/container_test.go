package claude

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/tests/internal/claude"
)

// contained is the beginning of a command that runs in a pid namespace of its own, as a
// container has, and sees the /proc of that namespace.
var contained = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}

// needNamespaces skips a test where no pid namespace can be made.
func needNamespaces(t *testing.T) {
	t.Helper()
	out, err := exec.Command(contained[0], append(contained[1:], "true")...).CombinedOutput()
	if err != nil {
		t.Skipf("a pid namespace can't be made (%v: %s): this test needs unshare of util-linux, and the right to it: root, or CAP_SYS_ADMIN", err, out)
	}
}

// TestContainers is about sessions in containers that share the home: the daemon outside
// can't see their processes, whose numbers are those of others outside, and in each other.
func TestContainers(t *testing.T) {
	needNamespaces(t)
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		bob.must("daemon", "up")
		a := alice.launch()
		box := func(name string, shape ...string) (*claude.Session, string) {
			id := uuid.NewString()
			line := slices.Concat(shape, []string{
				"claudemesh", "launch", "-y", "--quiet", "--name", name, "--", "--session-id", id, "--allowedTools", checkTool,
			})
			return bob.Open(t, bob.Project, line...), id
		}
		boxes, ids := make(map[string]*claude.Session), make(map[string]string)
		boxes["erin"], ids["erin"] = box("erin") // in none
		boxes["carol"], ids["carol"] = box("carol", contained...)
		// What Claude Code publishes is named by number alone; so is that of the next one.
		second := filepath.Join(bob.Dir, claude.SecondConfig)
		if err := os.Mkdir(second, 0o700); err != nil {
			t.Fatal(err)
		}
		seed, err := os.ReadFile(filepath.Join(bob.Dir, ".claude.json"))
		if err == nil {
			err = os.WriteFile(filepath.Join(second, ".claude.json"), seed, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		boxes["dave"], ids["dave"] = box("dave", append(slices.Clone(contained), "env", "CLAUDE_CONFIG_DIR="+second)...)
		awaitAll := func(what string) {
			t.Helper()
			var rows []row
			await.Until(t, what, func() bool {
				rows = alice.sessions()
				for name, id := range ids {
					if !slices.ContainsFunc(rows, func(r row) bool {
						return r.SessionID == id && r.DisplayName == name && r.Status == "idle" && r.Online && r.CannotRead == ""
					}) {
						return false
					}
				}
				return len(rows) == len(ids)+1
			}, func() string { return bob.must("daemon", "status") })
		}
		awaitAll("all are there, each once")
		for name, id := range ids {
			message := w.say(a, name, "for "+name)
			w.awaitReceived(id, "for "+name)
			await.Until(t, "alice knows that "+name+" has read it", func() bool {
				return strings.Contains(w.use(a, tool+"message_status", `{"id":"`+message+`"}`).Text, "in the recipient's context")
			}, func() string { return bob.must("daemon", "status") })
		}
		awaitAll("they are idle again")
		bob.killDaemon()
		bob.must("daemon", "up")
		awaitAll("all are back with another daemon")
		boxes["dave"].Exit()
		delete(ids, "dave")
		awaitAll("one has left, the others have not")
	})
}

// TestHiddenProc is about a container that still has the /proc of the system outside.
func TestHiddenProc(t *testing.T) {
	needNamespaces(t)
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		bob.must("daemon", "up")
		a := alice.launch()
		id := uuid.NewString()
		b := bob.Open(t, bob.Project, "unshare", "--pid", "--fork", "--kill-child",
			"claudemesh", "launch", "-y", "--quiet", "--name", "bob", "--", "--session-id", id, "--allowedTools", checkTool)
		alice.await("bob is there", func() bool {
			return slices.ContainsFunc(alice.sessions(), func(r row) bool { return r.SessionID == id && r.Online && r.CannotRead == "" })
		})
		w.say(a, "bob", "hello")
		w.awaitReceived(id, "hello")
		b.Exit()
		alice.await("bob has left", func() bool {
			return !slices.ContainsFunc(alice.sessions(), func(r row) bool { return r.SessionID == id })
		})
	})
}
