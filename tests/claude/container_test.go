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

// contained is the prefix of a command that runs it in its own pid namespace, like a
// container, with the /proc of that namespace.
var contained = []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}

// needNamespaces skips a test if the system can't create pid namespaces.
func needNamespaces(t *testing.T) {
	t.Helper()
	out, err := exec.Command(contained[0], append(contained[1:], "true")...).CombinedOutput()
	if err != nil {
		t.Skipf("can't create a pid namespace (%v: %s): this test needs unshare from util-linux, and root or CAP_SYS_ADMIN", err, out)
	}
}

// TestContainers tests sessions in containers that share the home directory. The daemon
// outside can't see their processes. Their process ids also exist outside and in the other
// containers, for other processes.
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
		boxes["erin"], ids["erin"] = box("erin") // outside the containers
		boxes["carol"], ids["carol"] = box("carol", contained...)
		// Claude Code names the files that it publishes only by process id, and the next container
		// uses the same process ids.
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

// TestHiddenProc tests a container that still sees the /proc of the host.
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
