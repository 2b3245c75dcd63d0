package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/diagnose"
)

// TestDoctorOfSettings checks, for each setting of the organization or the user that keeps the
// plugin from working, what doctor says: what is wrong, and what to do.
func TestDoctorOfSettings(t *testing.T) {
	t.Parallel()
	const ask = "; ask the administrator of this machine to allow claudemesh"
	for _, tc := range []struct {
		name, file, text string
		installed        bool
		check, says      string // HOME stands for the directory
	}{
		{"nothing", "user", `{}`, false, "", ""},
		{"hooks off", "user", `{"disableAllHooks":true}`, false,
			"hooks", "disableAllHooks in HOME/user turns off all hooks; remove that setting"},
		{"hooks off by the organization", "managed", `{"disableAllHooks":true}`, true,
			"hooks", "disableAllHooks in HOME/managed turns off all hooks" + ask},
		{"managed hooks only", "managed", `{"allowManagedHooksOnly":true}`, true,
			"hooks", "allowManagedHooksOnly in HOME/managed allows only the hooks of your organization" + ask},
		{"no plugins by option", "managed", `{"disableSideloadFlags":true}`, false,
			"hooks", "disableSideloadFlags in HOME/managed forbids --plugin-dir" + ask},
		{"MCP servers of the organization", "managed-mcp", `{"mcpServers":{}}`, true,
			"hooks", "your organization allows only the MCP servers in HOME/managed-mcp" + ask},
		{"other MCP servers", "managed", `{"allowedMcpServers":[]}`, true,
			"hooks", "allowedMcpServers in HOME/managed doesn't contain the MCP server of claudemesh" + ask},
		{"locked marketplaces", "managed", `{"strictKnownMarketplaces":[]}`, false,
			"plugin", "strictKnownMarketplaces in HOME/managed"},
		{"locked marketplaces, but installed", "managed", `{"strictKnownMarketplaces":[]}`, true, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			home := t.TempDir()
			in := func(name string) string { return filepath.Join(home, name) }
			if err := os.WriteFile(in(tc.file), []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			d := &doctor{app: &app{}}
			d.settings(diagnose.Places{User: in("user"), State: in("state"), Managed: []string{in("managed")}, ManagedMCP: []string{in("managed-mcp")}}, in("plugin"), tc.installed)
			var bad []finding
			for _, f := range d.findings {
				if !f.OK {
					bad = append(bad, f)
				}
			}
			if tc.says == "" {
				if len(bad) > 0 {
					t.Errorf("found %+v", bad)
				}
				return
			}
			if len(bad) != 1 || bad[0].Check != tc.check || !strings.Contains(strings.ReplaceAll(bad[0].Detail, home, "HOME"), tc.says) {
				t.Errorf("found %+v, want %q", bad, tc.says)
			}
			if tc.check == "plugin" && !strings.Contains(bad[0].Detail, "use `claudemesh launch`") {
				t.Errorf("%s: not what to do", bad[0].Detail)
			}
		})
	}
}

// TestDoctorOfFileSystems checks that doctor doesn't report a network file system as a fault, but
// explains its effects.
func TestDoctorOfFileSystems(t *testing.T) {
	t.Parallel()
	for kind, says := range map[string]string{
		"":    "only you can read HOME",
		"NFS": "HOME is on a network file system (NFS), where databases work without their write-ahead log, which is slower, and rely on that system's locks; set CLAUDEMESH_CONFIG_DIR",
	} {
		home := t.TempDir()
		if err := os.Chmod(home, 0o700); err != nil {
			t.Fatal(err)
		}
		d := &doctor{app: &app{dir: peer.Dir(home)}}
		d.files(kind)
		if len(d.findings) != 1 || !d.findings[0].OK || !strings.Contains(strings.ReplaceAll(d.findings[0].Detail, home, "HOME"), says) {
			t.Errorf("on %q: found %+v, want %q", kind, d.findings, says)
		}
	}
}
