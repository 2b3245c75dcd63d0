package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/debuglog"
	"github.com/claudemesh/claudemesh/peer/claudecode/lineage"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// playClaude makes this process play the claude of the commands under test.
func playClaude(t *testing.T, dir peer.Dir) {
	t.Helper()
	t.Setenv(lineage.EnvPID, strconv.Itoa(os.Getpid()))
	daemontest.Ticket(t, dir, os.Getpid(), daemontest.Session, daemontest.SessionToken)
}

func event(name, more string) string {
	return `{"session_id":"` + daemontest.Session + `","hook_event_name":"` + name + `"` + more + `}`
}

// TestHookNeverVetoes makes the commands that Claude Code runs fail in many ways. They must not
// exit with 2, which would block a prompt or a tool.
func TestHookNeverVetoes(t *testing.T) {
	dir := string(daemontest.Dir(t))
	for _, tc := range []struct {
		name, stdin string
		args        []string
	}{
		{"no event", "", []string{"hook"}},
		{"no JSON", "hello", []string{"hook"}},
		{"no daemon", event("PreToolUse", ""), []string{"hook"}},
		{"unknown flag", event("PreToolUse", ""), []string{"hook", "--new-flag", "x"}},
		{"argument", event("PreToolUse", ""), []string{"hook", "PreToolUse"}},
		{"nothing handed over", "", []string{"hook", "--deliver"}},
		{"waiter of a subagent", event("Stop", `,"agent_id":"a"`), []string{"wait", "--new-flag"}},
	} {
		if code, out, errOut := run(t, dir, tc.stdin, tc.args...); code != exitOK || out != "" || errOut != "" {
			t.Errorf("%s: exit code %d, %q, %q", tc.name, code, out, errOut)
		}
	}
}

// TestFailureIsNotAUsageError checks that a command of Claude Code that fails exits with 1 and says why,
// and doesn't blame the command line.
func TestFailureIsNotAUsageError(t *testing.T) {
	t.Setenv("HOME", "")
	for _, verb := range []string{"mcp", "monitor"} {
		code, out, errOut := run(t, "", "", verb, "--new-flag")
		if code != exitFailed || out != "" || !strings.Contains(errOut, "set HOME or CLAUDEMESH_CONFIG_DIR") || strings.Contains(errOut, "usage") {
			t.Errorf("%s: exit code %d, %q, %q", verb, code, out, errOut)
		}
	}
}

func TestHookPrintsPointer(t *testing.T) {
	dir := daemontest.Dir(t)
	playClaude(t, dir)
	d := daemontest.Start(t, dir)
	daemontest.Handle(d, local.VerbActivity, func(a local.Activity) (any, error) {
		if a.PID != os.Getpid() || !a.Human {
			t.Errorf("activity %+v", a)
		}
		return local.Pointer{Pointer: "1 unread"}, nil
	})
	var out string
	// The budget of a hook may be too short on a busy machine.
	for range 100 {
		var code int
		if code, out, _ = run(t, string(dir), event("UserPromptSubmit", `,"prompt":"x"`), "hook"); code != exitOK {
			t.Fatalf("exit code %d", code)
		}
		if out != "" {
			break
		}
	}
	if want := `{"hookSpecificOutput":{"hookEventName":"UserPromptSubmit","additionalContext":"1 unread"}}` + "\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
}

func TestHookExplains(t *testing.T) {
	dir := daemontest.Dir(t)
	t.Setenv(debuglog.Variable, "1")
	if err := os.WriteFile(dir.Path("hook.log"), make([]byte, (1<<20)+1), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := run(t, string(dir), event("PreToolUse", ""), "hook")
	if code != exitOK || out != "" || !strings.Contains(errOut, "daemon is not running") {
		t.Errorf("exit code %d, %q, %q", code, out, errOut)
	}
	log, err := os.ReadFile(dir.Path("hook.log"))
	if err != nil || !strings.Contains(string(log), "PreToolUse") || len(log) > (1<<20) {
		t.Errorf("hook.log has %d bytes, %v", len(log), err)
	}
}

func TestWaitWakes(t *testing.T) {
	dir := daemontest.Dir(t)
	playClaude(t, dir)
	t.Setenv(debuglog.Variable, "1") // standard error must still contain only the pointer
	d := daemontest.Start(t, dir)
	woken := local.Woken{Pointer: "1 unread"}
	d.HandleFunc(local.VerbWake, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(woken) })
	if code, out, errOut := run(t, string(dir), event("Stop", ""), "wait"); code != 2 || out != "" || errOut != "1 unread\n" {
		t.Errorf("with a pointer: exit code %d, %q, %q", code, out, errOut)
	}
	woken = local.Woken{Over: true}
	if code, out, errOut := run(t, string(dir), event("Stop", ""), "wait"); code != exitOK || out != "" || errOut != "" {
		t.Errorf("with a better path: exit code %d, %q, %q", code, out, errOut)
	}
}

func TestStatusline(t *testing.T) {
	dir := daemontest.Dir(t)
	t.Setenv("CLAUDEMESH_CONFIG_DIR", string(dir))
	t.Setenv("NO_COLOR", "1")
	t.Setenv("COLUMNS", "")
	line := func() string {
		t.Helper()
		var out bytes.Buffer
		a := &app{in: strings.NewReader(`{"session_id":"x"}`), out: &out, err: &out}
		cmd := a.statuslineCommand()
		cmd.SetArgs([]string{"--unknown"})
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	const off = "mesh: daemon is off\n"
	if got := line(); got != off {
		t.Errorf("without a daemon: %q", got)
	}
	d := daemontest.Start(t, dir)
	t.Setenv(lineage.EnvPID, strconv.Itoa(os.Getpid()))
	if got := line(); got != "mesh: not in a mesh\n" {
		t.Errorf("without a session: %q", got)
	}
	playClaude(t, dir)
	daemontest.Handle(d, local.VerbUnread, func(struct{}) (any, error) {
		return local.Unread{Peers: 3, Unread: 2, Status: wire.Idle, Connected: true, Meshes: []string{"team"}}, nil
	})
	got := off
	for i := 0; i < 100 && got == off; i++ { // the budget may be too short on a busy machine
		got = line()
	}
	if got != "mesh: 3 peers · 2 unread · ⚡ broker\n" {
		t.Errorf("in a session: %q", got)
	}
}
