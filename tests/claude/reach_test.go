package claude

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/tests/internal/claude"
)

// unable checks what peers see of a session that can't read: the roster, the answer to the
// sender and the status of the message say so.
func (w *world) unable(alice *person, a, b *claude.Session, why string) {
	w.t.Helper()
	alice.await("alice sees that bob can't read, and why", func() bool {
		rows := alice.sessions()
		return slices.ContainsFunc(rows, func(r row) bool { return r.SessionID == b.ID() && r.CannotRead == why })
	})
	result := w.use(a, sendTool, `{"to":"bob","message":"are you there?"}`)
	id := sentID.FindStringSubmatch(result.Text)
	if id == nil || !strings.Contains(result.Text, "can't read messages ("+why+")") {
		w.t.Fatalf("alice's model is told %q", result.Text)
	}
	if status := w.use(a, tool+"message_status", `{"id":"`+id[1]+`"}`).Text; !strings.Contains(status, why) {
		w.t.Errorf("message_status: %s", status)
	}
	if list := w.use(a, tool+"list_peers", "{}").Text; !strings.Contains(list, why) {
		w.t.Errorf("list_peers: %s", list)
	}
	if out := alice.must("peers"); !strings.Contains(out, "can't read messages ("+why+")") {
		w.t.Errorf("claudemesh peers:\n%s", out)
	}
	if out := alice.must("send", "bob", "and now?"); !strings.Contains(out, why) {
		w.t.Errorf("claudemesh send: %s", out)
	}
}

func (w *world) able(alice *person, b *claude.Session) {
	w.t.Helper()
	alice.await("alice sees that bob reads", func() bool {
		rows := alice.sessions()
		return slices.ContainsFunc(rows, func(r row) bool { return r.SessionID == b.ID() && r.CannotRead == "" && r.Online })
	})
}

// TestHooksOff tests a session with disabled hooks. Launch says so, and peers see it. When
// the hooks are enabled again, the session reads without a restart.
func TestHooksOff(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		dir := filepath.Join(bob.Dir, ".claude")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		settings := filepath.Join(dir, "settings.json")
		if err := os.WriteFile(settings, []byte(`{"disableAllHooks":true}`), 0o600); err != nil {
			t.Fatal(err)
		}
		a, b := alice.launch(), bob.launch()
		if screen := b.Screen(); !strings.Contains(strings.Join(strings.Fields(screen), ""), "disableAllHooksin"+settings) && !w.program.Real {
			t.Errorf("launch says nothing:\n%s", screen)
		}
		w.unable(alice, a, b, local.NoHooks)
		if out, _, code := bob.Run(t, "claudemesh", "doctor"); code == 0 || !strings.Contains(out, "remove that setting") || !strings.Contains(out, "can't read its messages: "+local.NoHooks) {
			t.Errorf("doctor: exit code %d\n%s", code, out)
		}
		b.Ask("hello")
		if got := w.received(b.ID()); len(got) > 0 {
			t.Errorf("bob's model got %q", got)
		}
		if err := os.WriteFile(settings, []byte(`{}`), 0o600); err != nil {
			t.Fatal(err)
		}
		alice.await("a prompt tells bob's model", func() bool {
			b.Ask("hello again") // Claude Code reloads its settings after a while
			return len(w.received(b.ID())) > 0
		})
		w.able(alice, b)
	})
}

// TestWithoutPlugin tests options of claude that disable our plugin or its tool.
func TestWithoutPlugin(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		for option, why := range map[string]string{"--safe-mode": local.NoPlugin, "--strict-mcp-config": local.NoTool} {
			t.Run(option, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, w.program)
				alice, bob := w.person("alice"), w.person("bob")
				a, b := alice.launch(), bob.launch(option)
				if screen := b.Screen(); !strings.Contains(screen, option) && !w.program.Real {
					t.Errorf("launch says nothing:\n%s", screen)
				}
				w.unable(alice, a, b, why)
				b.Ask("hello") // so that the session can be resumed
				id := b.ID()
				if code := b.Exit(); code != 0 {
					t.Errorf("exit code %d", code)
				}
				b = bob.launch("--resume", id)
				w.able(alice, b)
				w.awaitReceived(id, "are you there?", "and now?")
			})
		}
	})
}

// TestToolKilled kills the MCP server of a session. Claude Code doesn't start it again.
func TestToolKilled(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		a, b := alice.launch(), bob.launch()
		alice.awaitRow(b, "idle")
		b.Ask("hello")
		w.able(alice, b)
		bob.signal(childOf(t, b.PID(), "mcp"), syscall.SIGKILL)
		w.unable(alice, a, b, local.NoTool)
		id := b.ID()
		b.Kill()
		b = bob.launch("--resume", id)
		w.able(alice, b)
		await.Until(t, "bob's model has got it", func() bool { return len(w.received(id)) == 2 }, b.Screen)
	})
}

// childOf finds the descendant of a process that runs the given verb of claudemesh.
func childOf(t *testing.T, parent int, verb string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(b), ") ")
		fields := strings.Fields(rest)
		if err != nil || len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"); err == nil && args[len(args)-1] == verb {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("process %d has no child that runs %s", parent, verb)
	return 0
}

// TestMonitorIntoTheVoid tests a monitor that runs but whose lines reach nobody. Claudemesh
// must wake the session in another way.
func TestMonitorIntoTheVoid(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		a, b := alice.launch(), bob.launch()
		alice.awaitRow(b, "idle")
		// A stopped monitor doesn't print the lines that the daemon writes to it.
		bob.await("its monitor wakes it", func() bool { return strings.Contains(bob.must("daemon", "status"), "monitor") })
		monitor := childOf(t, b.PID(), "monitor")
		bob.signal(monitor, syscall.SIGSTOP)
		t.Cleanup(func() { _ = syscall.Kill(monitor, syscall.SIGCONT) })
		w.say(a, "bob", "wake up")
		w.awaitReceived(b.ID(), "wake up")
		// When the monitor prints again, the daemon uses it again.
		bob.signal(monitor, syscall.SIGCONT)
		b.Ask("hello")
		w.say(a, "bob", "and again")
		w.awaitReceived(b.ID(), "wake up", "and again")
	})
}
