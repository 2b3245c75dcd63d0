package claude

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// probe is a plugin that logs how Claude Code uses it. Its processes are this test binary; the
// first argument selects the role.
type probe struct {
	t   testing.TB
	dir string // the plugin's directory
}

const probeTool = "mcp__plugin_probe_probe__check_messages"

// probeEvents lists the hooks of the probe.
var probeEvents = []string{
	"SessionStart", "UserPromptSubmit", "PreToolUse", "PermissionRequest", "PostToolUse", "PostToolBatch", "Stop", "StopFailure",
	"Notification", "PreCompact", "PostCompact", "SessionEnd",
}

// commands holds the commands under test, set by TestMain. This package uses only the stand-in.
var commands harness.Commands

func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch role, dir := os.Args[1], os.Args[2]; role {
		case "probe-hook":
			probeHook(dir)
			return
		case "probe-waiter":
			os.Exit(probeWaiter(dir))
		case "probe-mcp":
			probeMCP(dir)
			return
		case "probe-monitor":
			probeMonitor(dir)
			return
		}
	}
	var err error
	if commands, err = harness.Build("../../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	commands.Remove()
	os.Exit(code)
}

// newProbe writes the plugin. Without a monitor, only the waiter wakes Claude Code.
func newProbe(t testing.TB, monitor bool) *probe {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &probe{t: t, dir: t.TempDir()}
	type list = []any
	type obj = map[string]any
	hooks := obj{}
	for _, event := range probeEvents {
		run := list{obj{"type": "command", "command": self, "args": list{"probe-hook", "${CLAUDE_PLUGIN_ROOT}"}}}
		if event == "SessionStart" && !monitor {
			run = append(run, obj{"type": "command", "command": self, "args": list{"probe-waiter", "${CLAUDE_PLUGIN_ROOT}"}, "asyncRewake": true, "timeout": 3600})
		}
		hooks[event] = list{obj{"hooks": run}}
	}
	files := map[string]any{
		".claude-plugin/plugin.json": obj{"name": "probe", "version": "1.0.0", "description": "logs"},
		"hooks/hooks.json":           obj{"hooks": hooks},
		".mcp.json":                  obj{"mcpServers": obj{"probe": obj{"command": self, "args": list{"probe-mcp", "${CLAUDE_PLUGIN_ROOT}"}}}},
	}
	if monitor {
		files["monitors/monitors.json"] = list{obj{"name": "inbox", "command": self + " probe-monitor " + p.dir, "description": "probe lines"}}
	}
	for name, value := range files {
		b, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		p.write(name, string(b))
	}
	return p
}

func (p *probe) write(name, text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		p.t.Fatal(err)
	}
}

// noted is an entry of the probe's log.
type noted struct {
	Role string            `json:"role"`
	PPID int               `json:"ppid"`
	Cwd  string            `json:"cwd"`
	Env  map[string]string `json:"env"`
	In   map[string]any    `json:"in"`
}

func (n noted) event() string { s, _ := n.In["hook_event_name"].(string); return s }

func (n noted) str(name string) string { s, _ := n.In[name].(string); return s }

// log returns the entries of one role.
func (p *probe) log(role string) []noted {
	p.t.Helper()
	var all []noted
	for line := range strings.Lines(readText(filepath.Join(p.dir, "log"))) {
		var n noted
		if !strings.HasSuffix(line, "\n") {
			break // incomplete
		}
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			p.t.Fatalf("the probe's log: %v in %q", err, line)
		}
		if n.Role == role {
			all = append(all, n)
		}
	}
	return all
}

// events returns the hooks so far, as Event or Event:source.
func (p *probe) events() []string {
	var all []string
	for _, n := range p.log("hook") {
		name := n.event()
		for _, field := range []string{"source", "reason", "tool_name"} {
			if s := n.str(field); s != "" {
				name += ":" + s
			}
		}
		all = append(all, name)
	}
	return all
}

func note(dir, role string, in []byte) {
	n := noted{Role: role, PPID: os.Getppid(), Env: map[string]string{}}
	n.Cwd, _ = os.Getwd()
	_ = json.Unmarshal(in, &n.In)
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "CLAUDE") || name == "AI_AGENT" {
			n.Env[name] = value
		}
	}
	b, err := json.Marshal(n)
	if err != nil {
		return
	}
	file, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer file.Close()
	_, _ = file.Write(append(b, '\n'))
}

// probeHook logs its input and prints the file context-<event>, once.
func probeHook(dir string) {
	in, _ := io.ReadAll(os.Stdin)
	note(dir, "hook", in)
	var event struct {
		Name string `json:"hook_event_name"`
	}
	_ = json.Unmarshal(in, &event)
	file := filepath.Join(dir, "context-"+event.Name)
	text, err := os.ReadFile(file)
	if err != nil || os.Remove(file) != nil {
		return
	}
	b, _ := json.Marshal(map[string]any{"hookSpecificOutput": map[string]any{"hookEventName": event.Name, "additionalContext": string(text)}})
	fmt.Println(string(b))
}

// probeWaiter waits for the file rewake and wakes Claude Code with its text.
func probeWaiter(dir string) int {
	in, _ := io.ReadAll(os.Stdin)
	note(dir, "waiter", in)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	file := filepath.Join(dir, "rewake")
	for {
		text, err := os.ReadFile(file)
		if err == nil && os.Remove(file) == nil {
			fmt.Fprint(os.Stderr, string(text))
			return 2
		}
		select {
		case <-ended:
			note(dir, "waiter-ended", []byte(`{"by":"SIGTERM"}`))
			return 0
		case <-time.After(poll):
			if !exists(dir) {
				return 0
			}
		}
	}
}

// probeMonitor prints the file lines each time it exists. It ends when the test removes the
// plugin.
func probeMonitor(dir string) {
	note(dir, "monitor", nil)
	file := filepath.Join(dir, "lines")
	for exists(dir) {
		text, err := os.ReadFile(file)
		if err == nil && os.Remove(file) == nil {
			fmt.Println(strings.TrimSpace(string(text)))
		}
		<-time.After(poll)
	}
}

// probeMCP is an MCP server with one tool.
func probeMCP(dir string) {
	note(dir, "mcp-started", nil)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		note(dir, "mcp", lines.Bytes())
		var request struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		if json.Unmarshal(lines.Bytes(), &request) != nil || request.ID == nil {
			continue
		}
		answer := `"error":{"code":-32601,"message":"method not found"}`
		switch request.Method {
		case "initialize":
			answer = `"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"probe","version":"1"},"instructions":"be kind"}`
		case "tools/list":
			answer = `"result":{"tools":[{"name":"check_messages","description":"reads","inputSchema":{"type":"object"}}]}`
		case "tools/call":
			answer = `"result":{"content":[{"type":"text","text":"two messages & <b>"}]}`
		case "ping":
			answer = `"result":{}`
		}
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,%s}`+"\n", request.ID, answer)
	}
}
