package claude

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/tests/internal/messages"
)

const (
	id1 = "11111111-1111-4111-8111-111111111111"
	id2 = "22222222-2222-4222-8222-222222222222"
	id3 = "33333333-3333-4333-8333-333333333333"
)

// TestConformance checks the behavior that other tests rely on, both of the stand-in and, if it
// is available, of the real program.
func TestConformance(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		run  func(t *testing.T, r *rig)
	}{
		{"a turn with tools", turnWithTools},
		{"context of hooks", hookContext},
		{"monitor", monitorLines},
		{"asyncRewake", rewaking},
		{"Esc", escape},
		{"clear", clearing},
		{"resume, fork, continue", identities},
		{"wrong command lines", wrongCommandLines},
		{"sudden end", suddenEnd},
		{"error of the API", apiError},
		{"plugin commands", pluginCommands},
	}
	for _, program := range Programs(commands.StandIn) {
		t.Run(program.Name, func(t *testing.T) {
			t.Parallel()
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					api := messages.Start(t, probeTool)
					test.run(t, &rig{t: t, api: api, home: NewHome(t, program, api)})
					if strays := api.Strays(); len(strays) > 0 {
						t.Errorf("unexpected calls to the mock: %v", strays)
					}
				})
			}
		})
	}
}

// rig is one user with a mock of the API.
type rig struct {
	t    *testing.T
	api  *messages.Server
	home *Home
}

// awaitEvents waits until these are the probe's hooks.
func (r *rig) awaitEvents(p *probe, want ...string) {
	r.t.Helper()
	await.Until(r.t, "the hooks were "+strings.Join(want, " "), func() bool { return slices.Equal(p.events(), want) },
		func() string { return strings.Join(p.events(), " ") })
}

func turnWithTools(t *testing.T, r *rig) {
	p := newProbe(t, true)
	s := r.home.Start(t, "claude", "--plugin-dir", p.dir, "--session-id", id1, "--permission-mode", "manual", "--name", "worker")
	if now := s.Published(); now.SessionID != id1 || now.Name != "worker" || now.NameSource != "user" || now.Entrypoint != "cli" || now.Cwd != r.home.Project || now.ProcStart == "" {
		t.Errorf("published: %+v", now)
	}
	s.Turn(func() {
		s.Type(`[[tool Bash {"command":"echo seen >file","description":"d"}]]`)
		s.Allow()
	})
	if readText(filepath.Join(r.home.Project, "file")) != "seen\n" {
		t.Error("the tool did not run")
	}
	s.Turn(func() {
		s.Type(`[[tool ` + probeTool + ` {}]]`)
		s.AwaitDialog()
		if now := s.Published(); now.WaitingFor != "permission prompt" {
			t.Errorf("published at a dialog: %+v", now)
		}
		s.Allow()
	})
	if code := s.Exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, there := r.home.Published(s.PID()); there {
		t.Error("the status file is still there")
	}
	r.awaitEvents(p, "SessionStart:startup",
		"UserPromptSubmit", "PreToolUse:Bash", "PermissionRequest:Bash", "PostToolUse:Bash", "PostToolBatch", "Stop",
		"UserPromptSubmit", "PreToolUse:"+probeTool, "PermissionRequest:"+probeTool, "PostToolUse:"+probeTool, "PostToolBatch", "Stop",
		"SessionEnd:prompt_input_exit")

	var methods []string
	useID := ""
	for _, n := range p.log("mcp") {
		methods = append(methods, n.str("method"))
		if n.PPID != s.PID() || n.Env["CLAUDE_PID"] != "" || n.Env["CLAUDE_CODE_SESSION_ID"] != id1 || n.Env["CLAUDE_PROJECT_DIR"] != r.home.Project || n.Cwd != r.home.Project {
			t.Errorf("MCP server: %+v", n)
		}
		if params, ok := n.In["params"].(map[string]any); ok && n.str("method") == "tools/call" {
			useID, _ = params["_meta"].(map[string]any)["claudecode/toolUseId"].(string)
		}
	}
	if want := []string{"server/discover", "initialize", "notifications/initialized", "tools/list", "tools/call"}; !slices.Equal(methods, want) {
		t.Errorf("MCP: %v", methods)
	}
	for _, n := range p.log("hook") {
		if n.PPID != s.PID() || n.str("session_id") != id1 || n.str("cwd") != r.home.Project || n.Env["CLAUDE_CODE_SESSION_ID"] != id1 || n.Env["CLAUDE_PLUGIN_ROOT"] != p.dir {
			t.Errorf("hook: %+v", n)
		}
		if n.str("tool_name") == probeTool && n.event() != "PermissionRequest" && n.str("tool_use_id") != useID {
			t.Errorf("tool use %q, the MCP server was told %q", n.str("tool_use_id"), useID)
		}
	}
	results := r.api.Results(id1)
	if len(results) != 2 || results[1].Tool != probeTool || results[1].Text != "two messages & <b>" || results[1].ID != useID {
		t.Errorf("the model got %+v", results)
	}
	if monitors := p.log("monitor"); len(monitors) != 1 || monitors[0].Env["CLAUDE_CODE_SESSION_ID"] != id1 {
		t.Errorf("monitors: %+v", monitors)
	}
}

// said returns the text that contains part, and its role.
func (r *rig) said(session, part string) messages.Text {
	r.t.Helper()
	for _, text := range r.api.Said(session) {
		if strings.Contains(text.Text, part) {
			return text
		}
	}
	r.t.Errorf("the model was not told %q", part)
	return messages.Text{}
}

func hookContext(t *testing.T, r *rig) {
	p := newProbe(t, true)
	for _, event := range []string{"SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse"} {
		p.write("context-"+event, `from <`+event+`> & "x"`)
	}
	s := r.home.Start(t, "claude", "--plugin-dir", p.dir, "--session-id", id1, "--allowedTools", "Bash")
	s.Ask(`[[tool Bash {"command":"true","description":"d"}]]`)
	for _, event := range []string{"SessionStart", "UserPromptSubmit", "PreToolUse:Bash", "PostToolUse:Bash"} {
		bare, _, _ := strings.Cut(event, ":")
		if text := r.said(id1, event+` hook additional context: from <`+bare+`> & "x"`); text.Role != "system" {
			t.Errorf("context of %s came from the %s", event, text.Role)
		}
	}
}

func monitorLines(t *testing.T, r *rig) {
	p := newProbe(t, true)
	s := r.home.Start(t, "claude", "--plugin-dir", p.dir, "--session-id", id1, "--allowedTools", "Bash,"+probeTool)
	s.Turn(func() { p.write("lines", "1 unread mesh message from <bob>: read it with check_messages") })
	if text := r.said(id1, "1 unread mesh message from &lt;bob&gt;"); text.Role != "user" || !strings.Contains(text.Text, `<summary>Monitor event: "probe lines"</summary>`) {
		t.Errorf("the model was told: %+v", text)
	}
	if results := r.api.Results(id1); len(results) != 1 || results[0].Tool != probeTool {
		t.Errorf("the model got %+v", results)
	}
	// In the middle of a turn, the notification comes with the tool's result, in the role system.
	p.write("slow", "")
	s.Turn(func() {
		s.Type(`[[tool Bash {"command":"while test -e ` + p.dir + `/slow; do sleep 0.1; done; sleep 0.5","description":"d"}]]`)
		await.Until(t, "the tool runs", func() bool { return slices.Contains(p.events(), "PreToolUse:Bash") }, s.Screen)
		p.write("lines", "2 unread mesh messages from bob: read them with check_messages")
		await.Until(t, "the line is printed", func() bool {
			// The real program doesn't show it at once; the command's last sleep is for it.
			return !exists(p.dir+"/lines") && (r.home.program.Real || strings.Contains(s.Screen(), "2 unread mesh messages from bob"))
		}, s.Screen)
		if err := os.Remove(p.dir + "/slow"); err != nil {
			t.Fatal(err)
		}
	})
	if results := r.api.Results(id1); len(results) != 3 {
		t.Errorf("the model got %+v", results)
	}
	if text := r.said(id1, "2 unread mesh messages from bob"); text.Role != "system" {
		t.Errorf("the model was told: %+v", text)
	}
}

func rewaking(t *testing.T, r *rig) {
	p := newProbe(t, false)
	s := r.home.Start(t, "claude", "--plugin-dir", p.dir, "--session-id", id1, "--allowedTools", probeTool)
	s.Turn(func() { p.write("rewake", "2 unread mesh messages from bob: read them with check_messages") })
	if text := r.said(id1, "2 unread mesh messages from bob"); text.Role != "user" || !strings.Contains(text.Text, "SYSTEM NOTIFICATION") {
		t.Errorf("the model was told: %+v", text)
	}
	if results := r.api.Results(id1); len(results) != 1 {
		t.Errorf("the model got %+v", results)
	}
	if prompts := p.log("hook"); !strings.Contains(prompts[1].str("prompt"), "<task-notification>") {
		t.Errorf("the prompt was %q", prompts[1].str("prompt"))
	}
}

func escape(t *testing.T, r *rig) {
	p := newProbe(t, true)
	s := r.home.Start(t, "claude", "--plugin-dir", p.dir, "--session-id", id1, "--permission-mode", "manual")
	s.Type("[[slow 100]]")
	await.Until(t, "the model is asked", func() bool { return len(r.api.Requests(id1)) == 1 }, s.Screen)
	s.AwaitStatus("busy")
	s.Escape()
	s.AwaitStatus("idle")
	s.Type(`[[tool Bash {"command":"touch never","description":"d"}]]`)
	s.AwaitDialog()
	s.Escape()
	s.AwaitStatus("idle")
	s.Ask("go on")
	s.Exit()
	r.awaitEvents(p, "SessionStart:startup", "UserPromptSubmit", "UserPromptSubmit", "PreToolUse:Bash", "PermissionRequest:Bash",
		"UserPromptSubmit", "Stop", "SessionEnd:prompt_input_exit")
}

func clearing(t *testing.T, r *rig) {
	p := newProbe(t, false)
	s := r.home.Start(t, "claude", "--plugin-dir", p.dir, "--session-id", id1, "--allowedTools", probeTool)
	s.Ask("first")
	pid := s.Published().PID
	next := s.Clear()
	s.Ask("second [[tool " + probeTool + " {}]]")
	if len(r.api.Requests(next)) == 0 || s.Published().PID != pid {
		t.Errorf("after /clear: %+v", s.Published())
	}
	if text := r.api.Requests(next)[0].Said(); slices.ContainsFunc(text, func(m messages.Text) bool { return m.Text == "first" }) {
		t.Error("the model still knows what was said before /clear")
	}
	p.write("rewake", "hello")
	await.Until(t, "the earlier waiter still runs", func() bool {
		return slices.ContainsFunc(p.events(), func(e string) bool { return e == "SessionStart:clear" }) && !exists(p.dir+"/rewake")
	}, s.Screen)
	s.Exit()
	hooks := p.log("hook")
	for i, want := range []struct{ event, session string }{
		{"SessionStart", id1}, {"UserPromptSubmit", id1}, {"Stop", id1}, {"SessionEnd", id1}, {"SessionStart", next}, {"UserPromptSubmit", next},
	} {
		if hooks[i].event() != want.event || hooks[i].str("session_id") != want.session || hooks[i].PPID != pid {
			t.Errorf("hook %d: %+v", i, hooks[i])
		}
	}
	if hooks[3].str("reason") != "clear" || hooks[4].str("source") != "clear" {
		t.Errorf("events: %v", p.events())
	}
	if servers := p.log("mcp-started"); len(servers) != 1 || servers[0].Env["CLAUDE_CODE_SESSION_ID"] != id1 {
		t.Errorf("MCP servers: %+v", servers)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// transcripts returns the ids of the sessions that have a transcript.
func (h *Home) transcripts(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.Dir, ".claude", "projects", "*", "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, file := range files {
		ids = append(ids, strings.TrimSuffix(filepath.Base(file), ".jsonl"))
	}
	return ids
}

func identities(t *testing.T, r *rig) {
	p := newProbe(t, true)
	claude := func(args ...string) []string {
		return append([]string{"claude", "--plugin-dir", p.dir, "--allowedTools", probeTool}, args...)
	}
	s := r.home.Start(t, claude("--session-id", id1)...)
	s.Ask("first")
	s.Exit()
	if ids := r.home.transcripts(t); !slices.Equal(ids, []string{id1}) {
		t.Fatalf("transcripts: %v", ids)
	}
	if out, errOut, code := r.home.Run(t, claude("-p", "--session-id", id2, "second")...); code != 0 || strings.TrimSpace(out) != "ok" {
		t.Fatalf("-p: exit code %d\n%s%s", code, out, errOut)
	}
	// The newest session is one of -p, which the interactive --continue skips.
	s = r.home.Start(t, claude("--continue")...)
	if s.ID() != id1 {
		t.Errorf("continued %s", s.ID())
	}
	s.Ask("third")
	if requests := r.api.Requests(id1); !strings.Contains(string(requests[len(requests)-1].Raw), "first") {
		t.Error("the model does not know what was said before")
	}
	s.Exit()
	s = r.home.Start(t, claude("--resume", id2)...)
	if s.ID() != id2 {
		t.Errorf("resumed %s", s.ID())
	}
	s.Exit()
	s = r.home.Start(t, claude("--resume", id1, "--fork-session")...)
	fork := s.ID()
	if fork == id1 || fork == id2 {
		t.Errorf("forked %s", fork)
	}
	s.Exit()
	s = r.home.Start(t, claude("--resume", id1, "--fork-session", "--session-id", id3)...)
	if s.ID() != id3 {
		t.Errorf("forked %s", s.ID())
	}
	s.Ask("fourth")
	if requests := r.api.Requests(id3); !strings.Contains(string(requests[0].Raw), "third") {
		t.Error("the fork does not know what was said before")
	}
	s.Exit()
	var starts []string
	for _, n := range p.log("hook") {
		if n.event() == "SessionStart" {
			starts = append(starts, n.str("source")+" "+n.str("session_id"))
		}
	}
	if want := []string{"startup " + id1, "startup " + id2, "resume " + id1, "resume " + id2, "fork " + fork, "fork " + id3}; !slices.Equal(starts, want) {
		t.Errorf("starts: %q", starts)
	}
	for _, n := range p.log("mcp") {
		if !strings.Contains(strings.Join(starts, " "), n.Env["CLAUDE_CODE_SESSION_ID"]) {
			t.Errorf("an MCP server was told the session %s", n.Env["CLAUDE_CODE_SESSION_ID"])
		}
	}
}

func wrongCommandLines(t *testing.T, r *rig) {
	if _, errOut, code := r.home.Run(t, "claude", "-p", "--session-id", id1, "hi"); code != 0 {
		t.Fatalf("-p: exit code %d\n%s", code, errOut)
	}
	for _, test := range []struct{ says, args string }{
		{"Invalid session ID. Must be a valid UUID.", "-p --session-id 17 hi"},
		{"Session ID " + id1 + " is already in use.", "-p --session-id " + id1 + " hi"},
		{"No conversation found with session ID: " + id2, "-p --resume " + id2 + " hi"},
		{"--session-id with --continue or --resume also needs --fork-session.", "-p --resume " + id1 + " --session-id " + id2 + " hi"},
		{"--session-id with --continue or --resume also needs --fork-session.", "-p --continue --session-id " + id2 + " hi"},
	} {
		out, errOut, code := r.home.Run(t, append([]string{"claude"}, strings.Fields(test.args)...)...)
		if code != 1 || !strings.Contains(out+errOut, test.says) {
			t.Errorf("claude %s: exit code %d\n%s%s", test.args, code, out, errOut)
		}
	}
	other := filepath.Join(r.home.Dir, "other.dir")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	r.home.Trust(t, r.home.Project, other)
	s := r.home.Open(t, other, "claude", "--continue")
	if code := s.Wait(); code != 1 || !strings.Contains(s.Screen(), "No conversation found to continue") {
		t.Errorf("--continue without a session: exit code %d\n%s", code, s.Screen())
	}
	// With -p, --continue starts a session.
	cmd := r.home.Command("claude", "-p", "--continue", "hi")
	cmd.Dir = other
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("-p --continue: %v\n%s", err, out)
	}
	folder := strings.NewReplacer("/", "-", ".", "-").Replace(other)
	if files, _ := filepath.Glob(filepath.Join(r.home.Dir, ".claude", "projects", folder, "*.jsonl")); len(files) != 1 {
		t.Errorf("transcripts of %s: %v", folder, files)
	}
}

func suddenEnd(t *testing.T, r *rig) {
	p := newProbe(t, true)
	s := r.home.Start(t, "claude", "--plugin-dir", p.dir, "--session-id", id1)
	s.Ask("hello")
	s.Kill()
	if now, there := r.home.Published(s.PID()); !there || now.SessionID != id1 {
		t.Errorf("the status file is gone: %+v", now)
	}
	r.awaitEvents(p, "SessionStart:startup", "UserPromptSubmit", "Stop")
	s = r.home.Start(t, "claude", "--plugin-dir", p.dir, "--resume", id1)
	r.awaitEvents(p, "SessionStart:startup", "UserPromptSubmit", "Stop", "SessionStart:resume") // the prompt may appear before the hook ends
	s.Signal(syscall.SIGTERM)
	s.Wait()
	r.awaitEvents(p, "SessionStart:startup", "UserPromptSubmit", "Stop", "SessionStart:resume", "SessionEnd:other")
}

func apiError(t *testing.T, r *rig) {
	p := newProbe(t, true)
	s := r.home.Start(t, "claude", "--plugin-dir", p.dir, "--session-id", id1)
	s.Type("[[error 400]]")
	r.awaitEvents(p, "SessionStart:startup", "UserPromptSubmit", "StopFailure")
	s.AwaitStatus("idle")
}

func pluginCommands(t *testing.T, r *rig) {
	p := newProbe(t, false)
	market := t.TempDir()
	if err := os.CopyFS(filepath.Join(market, "probe"), os.DirFS(p.dir)); err != nil {
		t.Fatal(err)
	}
	(&probe{t: t, dir: market}).write(".claude-plugin/marketplace.json", `{"name":"market","owner":{"name":"x"},"plugins":[{"name":"probe","source":"./probe","description":"d"}]}`)
	file := filepath.Join(r.home.Dir, ".claude", "settings.json")
	must := func(code int, args ...string) {
		t.Helper()
		if out, errOut, got := r.home.Run(t, append([]string{"claude", "plugin"}, args...)...); got != code {
			t.Errorf("claude plugin %v: exit code %d\n%s%s", args, got, out, errOut)
		}
	}
	object := func(name string) map[string]any {
		t.Helper()
		var s map[string]map[string]any
		if err := json.Unmarshal([]byte(readText(file)), &s); err != nil {
			t.Fatal(err)
		}
		return s[name]
	}
	must(0, "validate", market)
	must(1, "validate", filepath.Join(market, "nothing"))
	must(0, "marketplace", "add", market)
	must(0, "install", "probe@market")
	must(0, "install", "probe@market")
	must(1, "install", "other@market")
	if object("enabledPlugins")["probe@market"] != true || object("extraKnownMarketplaces")["market"] == nil {
		t.Errorf("settings: %s", readText(file))
	}
	s := r.home.Start(t, "claude", "--session-id", id1)
	s.Exit()
	installed := &probe{t: t, dir: filepath.Join(market, "probe")}
	r.awaitEvents(installed, "SessionStart:startup", "SessionEnd:prompt_input_exit")
	must(0, "uninstall", "probe@market")
	must(1, "uninstall", "probe@market")
	must(0, "marketplace", "remove", "market")
	must(1, "marketplace", "remove", "market")
	if len(object("enabledPlugins")) != 0 || len(object("extraKnownMarketplaces")) != 0 {
		t.Errorf("settings: %s", readText(file))
	}
}
