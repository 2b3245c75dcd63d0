package diagnose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// places writes settings into a new home directory.
func places(t *testing.T, files map[string]string) Places {
	t.Helper()
	home := t.TempDir()
	p := PlacesOf(filepath.Join(home, ".claude"), filepath.Join(home, "work"))
	p.Managed = []string{filepath.Join(home, "managed.json")}
	p.ManagedMCP = []string{filepath.Join(home, "managed-mcp.json")}
	for name, text := range files {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

const (
	user    = ".claude/settings.json"
	project = "work/.claude/settings.json"
	mine    = "work/.claude/settings.local.json"
	managed = "managed.json"
	state   = ".claude.json"
)

func TestFindings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, text string
		hooks, rival     string // part of the only finding; "" if there must be none
	}{
		{"nothing", user, `{"model":"opus"}`, "", ""},
		{"installed", user, `{"enabledPlugins":{"claudemesh@claudemesh-local":true},"statusLine":{"command":"claudemesh statusline"}}`, "", ""},
		{"all off", user, `{"disableAllHooks":true}`, "remove that setting", ""},
		{"not off", user, `{"disableAllHooks":false,"x":{"disableAllHooks":true}}`, "", ""},
		{"all off in the project", project, `{"disableAllHooks":true}`, project, ""},
		{"all off here", mine, `{"disableAllHooks":true}`, mine, ""},
		{"all off by the organization", managed, `{"disableAllHooks":true}`, "ask", ""},
		{"only the organization's", managed, `{"allowManagedHooksOnly":true}`, "allowManagedHooksOnly", ""},
		{"a user can't set that", user, `{"allowManagedHooksOnly":true}`, "", ""},
		{"plugin off", user, `{"enabledPlugins":{"claudemesh@claudemesh-local":false}}`, "claude plugin enable", ""},
		{"broken", user, `{"model":`, "repair", ""},
		{"hooks of others", user, `{"hooks":{"Stop":[{"hooks":[{"type":"command","command":"eslint"}]}]}}`, "", ""},
		{"hooks of a rival", user, `{"hooks":{"Stop":[{"matcher":"","hooks":[{"type":"command","command":"npx claudemesh-cli hook idle"}]}]}}`, "", "claudemesh-cli"},
		{"hooks of a rival, exec form", project, `{"hooks":{"Stop":[{"hooks":[{"type":"command","command":"node","args":["/x/claudemesh/hook.js"]}]}]}}`, "", project},
		{"plugin of a rival", user, `{"enabledPlugins":{"claudemesh@other":true,"claudemesh@third":false}}`, "", "claudemesh@other"},
		{"server of a rival", state, `{"mcpServers":{"claudemesh":{"command":"claudemesh","args":["mcp"]},"x":{"command":"y"}}}`, "", "claude mcp remove claudemesh"},
		{"server of a rival in a project", state, `{"projects":{"/p":{"mcpServers":{"peers":{"command":"npx","args":["claudemesh-cli","mcp"]}}}}}`, "", "peers"},
		{"hooks of a rival after a byte order mark", user, "\ufeff" + `{"hooks":{"Stop":[{"hooks":[{"type":"command","command":"npx claudemesh-cli hook idle"}]}]}}`, "", "claudemesh-cli"},
		{"hooks of a rival beside odd types", user, `{"hooks":{"A":7,"Stop":[{"hooks":[{"command":"npx claudemesh-cli"}]}],"Z":[{"hooks":"x"}]},"enabledPlugins":[]}`, "", "claudemesh-cli"},
		{"server of a rival after a byte order mark", state, "\ufeff" + `{"mcpServers":{"mesh":{"command":"claudemesh-cli"}},"projects":7}`, "", "claude mcp remove mesh"},
		{"odd types", user, `{"hooks":[],"enabledPlugins":7}`, "", ""},
	} {
		p := places(t, map[string]string{tc.file: tc.text})
		var hooks []string
		for _, l := range p.Lacks(Start{}) {
			hooks = append(hooks, l.String())
		}
		for what, got := range map[string][]string{tc.hooks: hooks, tc.rival: p.Rivals()} {
			if tc.hooks == tc.rival { // both are ""
				got = append(hooks, p.Rivals()...)
			}
			if what == "" && len(got) > 0 || what != "" && (len(got) != 1 || !strings.Contains(got[0], what)) {
				t.Errorf("%s: got %q, want %q", tc.name, got, what)
			}
		}
	}
}
