package plugin

import (
	"bufio"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
)

// hooksFile holds the fields of hooks.json that Claude Code reads.
type hooksFile struct {
	Hooks map[string][]struct {
		Hooks []struct {
			Type, Command string
			Args          []string
			Timeout       int
			AsyncRewake   bool
		}
	}
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, b)
	}
}

// TestWriteQuotes checks that special characters in a path do not change the meaning of a
// file.
func TestWriteQuotes(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(filepath.Join(t.TempDir(), `it's "my" <dir> $HOME`))
	// The program prints its arguments.
	exe := filepath.Join(t.TempDir(), "claude mesh's \"\\ `x` $(y)")
	if err := os.WriteFile(exe, []byte("#!/bin/sh\necho \"$CLAUDEMESH_CONFIG_DIR|$*\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := Write(dir, exe)
	if err != nil {
		t.Fatal(err)
	}
	called := func(verb, command string, args ...string) {
		t.Helper()
		out, err := exec.Command(command, args...).CombinedOutput()
		if want := string(dir) + "|" + verb + "\n"; err != nil || string(out) != want {
			t.Errorf("%s: got %q, %v, want %q", verb, out, err, want)
		}
	}
	var hooks hooksFile
	readJSON(t, filepath.Join(p.Root, "hooks", "hooks.json"), &hooks)
	if len(hooks.Hooks) != 9 {
		t.Errorf("%d events", len(hooks.Hooks))
	}
	for name, matchers := range hooks.Hooks {
		waits := name == "SessionStart" || name == "Stop"
		verbs := []string{"hook"}
		if waits {
			verbs = append(verbs, "wait")
		}
		if len(matchers) != 1 || len(matchers[0].Hooks) != len(verbs) {
			t.Fatalf("%s: %+v", name, matchers)
		}
		for i, h := range matchers[0].Hooks {
			if h.Type != "command" || h.AsyncRewake != (verbs[i] == "wait") || h.Timeout < 5 {
				t.Errorf("%s: %+v", name, h)
			}
			called(verbs[i], h.Command, h.Args...)
		}
	}
	var monitors []struct{ Name, Command, Description string }
	readJSON(t, filepath.Join(p.Root, "monitors", "monitors.json"), &monitors)
	called("monitor", "/bin/sh", "-c", monitors[0].Command)

	var mcp struct {
		MCPServers map[string]struct {
			Command string
			Args    []string
			Env     map[string]string
		}
	}
	readJSON(t, filepath.Join(p.Root, ".mcp.json"), &mcp)
	server := mcp.MCPServers[serverName]
	if server.Command != exe || !slices.Equal(server.Args, []string{"mcp"}) || server.Env["CLAUDEMESH_CONFIG_DIR"] != string(dir) {
		t.Errorf("MCP server: %+v", server)
	}
}

func TestDefaultDirectoryNeedsNoVariable(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	p, err := Write(peer.Dir(filepath.Join(home, ".claudemesh")), "/usr/bin/claudemesh")
	if err != nil {
		t.Fatal(err)
	}
	var hooks hooksFile
	readJSON(t, filepath.Join(p.Root, "hooks", "hooks.json"), &hooks)
	if h := hooks.Hooks["Stop"][0].Hooks[0]; h.Command != "/bin/sh" || !strings.HasSuffix(h.Args[1], "exec '/usr/bin/claudemesh' hook") {
		t.Errorf("%+v", h)
	}
	err = filepath.WalkDir(p.Marketplace, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "CONFIG_DIR") {
			t.Errorf("%s: %s", path, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteTwice(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(filepath.Join(t.TempDir(), "config"))
	if current, err := Current(dir, "/a/claudemesh"); current || err != nil {
		t.Errorf("before: %v, %v", current, err)
	}
	p, err := Write(dir, "/a/claudemesh")
	if err != nil {
		t.Fatal(err)
	}
	if current, err := Current(dir, "/a/claudemesh"); !current || err != nil {
		t.Errorf("after: %v, %v", current, err)
	}
	hooks, market := filepath.Join(p.Root, "hooks", "hooks.json"), filepath.Join(p.Marketplace, ".claude-plugin", "marketplace.json")
	long := time.Now().Add(-time.Hour)
	for _, path := range []string{hooks, market} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	written := func(path string) bool {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return time.Since(info.ModTime()) < time.Minute
	}
	if _, err := Write(dir, "/a/claudemesh"); err != nil || written(hooks) {
		t.Errorf("writing the same plugin again changed files, %v", err)
	}
	if current, _ := Current(dir, "/b/claudemesh"); current {
		t.Error("a plugin for another program counted as current")
	}
	if _, err := Write(dir, "/b/claudemesh"); err != nil || !written(hooks) || written(market) {
		t.Errorf("another program: hooks %v, marketplace %v, %v", written(hooks), written(market), err)
	}
	if rest, _ := filepath.Glob(filepath.Join(p.Root, "*", "*.tmp")); len(rest) > 0 {
		t.Errorf("left behind: %v", rest)
	}
	if _, err := Write(dir, "claudemesh"); err == nil {
		t.Error("a relative path was accepted")
	}
}

// TestProgramGone checks that if the program is missing, a hook does nothing, and a monitor
// waits until it is back.
func TestProgramGone(t *testing.T) {
	t.Parallel()
	dir, exe := peer.Dir(t.TempDir()), filepath.Join(t.TempDir(), "claudemesh")
	run := func(command string) string {
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", command).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		return string(out)
	}
	for _, verb := range []string{"hook", "wait", "statusline"} {
		if out := run(ShellCommand(dir, exe, verb)); out != "" {
			t.Errorf("%s said %q", verb, out)
		}
	}
	said := make(chan string)
	go func() { said <- run(patientCommand(dir, exe, "monitor")) }()
	tmp := exe + ".new"
	if err := os.WriteFile(tmp, []byte("#!/bin/sh\necho \"$1 is back\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, exe); err != nil {
		t.Fatal(err)
	}
	if out := <-said; out != "monitor is back\n" {
		t.Errorf("the monitor said %q", out)
	}
}

// TestMonitorStopsWaiting checks that a monitor that waits for its program ends together
// with the process that started it.
func TestMonitorStopsWaiting(t *testing.T) {
	t.Parallel()
	monitor := patientCommand(peer.Dir(t.TempDir()), filepath.Join(t.TempDir(), "claudemesh"), "monitor")
	// A shell reads its parent's process id when it starts, so the parent must live until the
	// monitor's shell has started.
	parent := exec.CommandContext(t.Context(), "/bin/sh", "-c", `/bin/sh -c "$0" & read -r line`, "echo runs; "+monitor)
	in, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	parent.Stdout = w
	err = parent.Start()
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "runs\n" {
		t.Errorf("%q, %v", line, err)
	}
	_ = in.Close()
	_ = parent.Wait() // it fails: the parent was waiting for a line
	// The output ends when the monitor ends.
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestHookProgram checks that the plugin uses the small hook program if that is executable.
func TestHookProgram(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode  os.FileMode // 0 if it doesn't exist
		small bool
	}{"there": {0o755, true}, "not executable": {0o644, false}, "not there": {0, false}} {
		bin := t.TempDir()
		exe, small := filepath.Join(bin, "claudemesh"), filepath.Join(bin, hookProgram)
		if tc.mode != 0 {
			if err := os.WriteFile(small, nil, tc.mode); err != nil {
				t.Fatal(err)
			}
		}
		want, wantArgs := exe, []string{"hook"}
		if tc.small {
			want, wantArgs = small, []string{exe}
		}
		if path, args := Hook(exe); path != want || !slices.Equal(args, wantArgs) {
			t.Errorf("%s: %s %q, want %s %q", name, path, args, want, wantArgs)
		}
	}
}
