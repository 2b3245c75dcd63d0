package launch

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/claudecode/transcript"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	kept  = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	other = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	fresh = "a fresh one"
)

// worldOf makes a Claude Code directory with one conversation in cwd.
func worldOf(t *testing.T) (config, cwd string) {
	t.Helper()
	config, cwd = t.TempDir(), t.TempDir()
	dir, err := transcript.ProjectDir(config, cwd)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, kept+".jsonl"), []byte(`{"type":"user","entrypoint":"cli","sessionId":"`+kept+`"}`+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return config, cwd
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	config, cwd := worldOf(t)
	empty := t.TempDir()
	for _, tc := range []struct {
		name, cwd, args, want string
		returns               bool
	}{
		{"new", cwd, "", fresh, false},
		{"new with -p", cwd, "-p hi", fresh, false},
		{"new with an id", cwd, "--session-id " + other, other, false},
		{"new with no UUID", cwd, "--session-id x", "", false},
		{"new with a UUID without dashes", cwd, "--session-id " + strings.ReplaceAll(other, "-", ""), "", false},
		{"resumed", cwd, "--resume " + kept, kept, true},
		{"resumed from elsewhere", empty, "-r " + kept, kept, true},
		{"resumed, unknown", cwd, "--resume " + other, "", false},
		{"resumed by title", cwd, "--resume title", "", false},
		{"resumed from the list", cwd, "--resume", "", false},
		{"continued", cwd, "--continue", kept, true},
		{"continued where nothing is", empty, "-c", "", false},
		{"fork", cwd, "--resume " + kept + " --fork-session", "", false},
		{"fork of the last", cwd, "-c --fork-session", "", false},
		{"fork with an id", cwd, "-c --fork-session --session-id " + other, other, false},
		{"--fork-session alone", cwd, "--fork-session", fresh, false},
		{"in the background", cwd, "--bg hi", "", false},
		{"no session", cwd, "mcp list", "", false},
	} {
		got, err := Identify(Parse(strings.Fields(tc.args)), config, tc.cwd)
		if err != nil || got.Returns != tc.returns {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
		if tc.want == fresh {
			if uuid.Validate(got.SessionID) != nil || !slices.Equal(got.Args, []string{"--session-id", got.SessionID}) {
				t.Errorf("%s: %+v", tc.name, got)
			}
		} else if got.SessionID != tc.want || len(got.Args) > 0 {
			t.Errorf("%s: got %+v, want %s", tc.name, got, tc.want)
		}
	}
}

func TestParseGroups(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "a": "a", "a:lead, @b ,c/d:x:y": "a:lead,b,c/d:x:y", ",,": "",
	} {
		groups, err := ParseGroups(in)
		if got := formatGroups(groups); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
	for _, in := range []string{":lead", "a b", "a#", "a:" + strings.Repeat("x", 200), strings.Repeat("g,", 65)} {
		if groups, err := ParseGroups(in); err == nil {
			t.Errorf("%q: %v", in, groups)
		}
	}
}

// prepare runs Prepare against a daemon that answers Register with answer.
func prepare(t *testing.T, o Options, answer func(local.Register) (any, error)) (Prepared, error) {
	t.Helper()
	o.Dir = daemontest.Dir(t)
	server := daemontest.Start(t, o.Dir)
	daemontest.Handle(server, local.VerbStatus, func(struct{}) (any, error) { return local.Status{PID: os.Getpid()}, nil })
	daemontest.Handle(server, local.VerbRegister, answer)
	o.ConfigDir, o.Cwd = worldOf(t)
	o.Executable, o.Claude = "/opt/claudemesh", "/opt/claude"
	return Prepare(context.Background(), o)
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	var got local.Register
	p, err := prepare(t, Options{
		Meshes: []string{"team", "home"}, Name: "bob", Role: "reviewer", Groups: []wire.Group{{Name: "a", Role: "lead"}, {Name: "b"}},
		Args: []string{"--model", "opus", "hi"},
		Env: []string{"PATH=/bin", "CLAUDECODE=1", "CLAUDE_CODE_SESSION_ID=" + other, "CLAUDE_PID=7", "AI_AGENT=claude-code_2-1-330_agent",
			"CLAUDEMESH_NAME=outer", "CLAUDEMESH_ROLE=outer", "CLAUDE_CONFIG_DIR=/c", "CLAUDE_CODE_USE_BEDROCK=1", "odd"},
	}, func(r local.Register) (any, error) {
		got = r
		return local.Registered{Token: "t", Meshes: []string{"home", "team"}, Warnings: []string{"the key is in memory only"}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	id := p.Identity.SessionID
	if got.PID != os.Getpid() || got.SessionID != id || got.Source != local.SourceLaunch || got.Name != "bob" ||
		got.Role != "reviewer" || len(got.Groups) != 2 || !slices.Equal(got.Meshes, []string{"team", "home"}) || got.Cwd == "" {
		t.Errorf("registered as %+v", got)
	}
	root := p.Argv[2]
	if want := []string{"claude", "--plugin-dir", root, "--session-id", id, "--model", "opus", "hi"}; !slices.Equal(p.Argv, want) {
		t.Errorf("called with %q", p.Argv)
	}
	if _, err := os.Stat(filepath.Join(root, "hooks", "hooks.json")); err != nil {
		t.Error(err)
	}
	config := filepath.Dir(filepath.Dir(root))
	if want := []string{"PATH=/bin", "CLAUDE_CONFIG_DIR=/c", "CLAUDE_CODE_USE_BEDROCK=1", "odd",
		"CLAUDEMESH_MESH=team,home", "CLAUDEMESH_NAME=bob", "CLAUDEMESH_ROLE=reviewer", "CLAUDEMESH_GROUPS=a:lead,b", "CLAUDEMESH_CONFIG_DIR=" + config, "CLAUDEMESH_LAUNCH=" + strconv.Itoa(os.Getpid())}; !slices.Equal(p.Env, want) {
		t.Errorf("with %q", p.Env)
	}
	if !slices.Equal(p.Warnings, []string{"the key is in memory only"}) || !slices.Equal(p.Meshes, []string{"home", "team"}) {
		t.Errorf("%q, %q", p.Warnings, p.Meshes)
	}
}

func TestPrepareWithoutSession(t *testing.T) {
	t.Parallel()
	never := func(r local.Register) (any, error) {
		t.Errorf("registered %+v", r)
		return local.Registered{}, nil
	}
	p, err := prepare(t, Options{Meshes: []string{"team"}, Args: []string{"mcp", "list"}}, never)
	if err != nil || !slices.Equal(p.Argv, []string{"claude", "mcp", "list"}) {
		t.Errorf("a command: %q, %v", p.Argv, err)
	}
	p, err = prepare(t, Options{Meshes: []string{"team"}, Args: []string{"--resume", "title"}}, never)
	if err != nil || len(p.Argv) != 5 || p.Argv[1] != "--plugin-dir" || p.Argv[4] != "title" {
		t.Errorf("a title: %q, %v", p.Argv, err)
	}
}

// TestPrepareRefused checks that if the daemon refuses the session, Prepare fails; if the
// daemon doesn't work, it only warns.
func TestPrepareRefused(t *testing.T) {
	t.Parallel()
	refuse := func(status int, code string) func(local.Register) (any, error) {
		return func(local.Register) (any, error) {
			return nil, &local.Error{Status: status, Code: code, Message: "no such mesh"}
		}
	}
	o := Options{Meshes: []string{"team"}}
	if _, err := prepare(t, o, refuse(404, local.CodeNotFound)); err == nil || !strings.Contains(err.Error(), "no such mesh") {
		t.Errorf("refused: %v", err)
	}
	p, err := prepare(t, o, refuse(500, local.CodeInternal))
	if err != nil || len(p.Warnings) != 1 || p.Identity.SessionID == "" {
		t.Errorf("failed: %q, %v", p.Warnings, err)
	}
}

// TestPrepareWithoutDaemon checks that claude starts even if the daemon can't be started.
func TestPrepareWithoutDaemon(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	config, cwd := worldOf(t)
	p, err := Prepare(ctx, Options{
		Dir: daemontest.Dir(t), ConfigDir: config, Cwd: cwd, Executable: filepath.Join(t.TempDir(), "none"), Claude: "/opt/claude", Meshes: []string{"team"},
	})
	if err != nil || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "daemon") {
		t.Errorf("%q, %v", p.Warnings, err)
	}
}
