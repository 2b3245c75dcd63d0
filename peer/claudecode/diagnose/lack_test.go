package diagnose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLacks checks what Claude Code doesn't load in each condition, as observed with Claude
// Code 2.1.332, and the text for the user.
func TestLacks(t *testing.T) {
	t.Parallel()
	const ask = "ask the administrator of this machine to allow claudemesh"
	for _, tc := range []struct {
		name, file, text string
		start            Start
		want             Lack   // without its texts
		says             string // HOME stands for the directory
		peers, headless  string // what peers are told, also with -p
	}{
		{name: "nothing"},
		{name: "safe mode", start: Start{SafeMode: true}, want: Lack{Hooks: true, Monitor: true, Tool: true},
			says: "--safe-mode starts Claude Code without plugins; leave it out", peers: "it was started without claudemesh's plugin"},
		{name: "bare", start: Start{Bare: true}, want: Lack{Hooks: true},
			says: "--bare starts Claude Code without hooks; leave it out", headless: "hooks are off on that machine"},
		{name: "strict MCP", start: Start{StrictMCP: true}, want: Lack{Tool: true},
			says: "--strict-mcp-config starts Claude Code without the tools of plugins; leave it out", peers: "its claudemesh tool does not run"},
		{name: "settings on the command line", start: Start{Settings: ` {"disableAllHooks":true}`}, want: Lack{Hooks: true, Monitor: true},
			says: "disableAllHooks in --settings turns off all hooks; remove that setting", peers: "hooks are off on that machine"},
		{name: "other settings on the command line", start: Start{Settings: `{"model":"opus"}`}},
		{name: "no such file of settings", start: Start{Settings: "/no/such/file"}},
		{name: "hooks off", file: user, text: `{"disableAllHooks":true}`, want: Lack{Hooks: true, Monitor: true},
			says: "disableAllHooks in HOME/.claude/settings.json turns off all hooks; remove that setting", peers: "hooks are off on that machine"},
		{name: "hooks off by the organization", file: managed, text: `{"disableAllHooks":true}`, want: Lack{Hooks: true, Monitor: true},
			says: "disableAllHooks in HOME/managed.json turns off all hooks; " + ask, peers: "hooks are off on that machine"},
		{name: "managed hooks only", file: managed, text: `{"allowManagedHooksOnly":true}`, want: Lack{Hooks: true, Monitor: true},
			says: "allowManagedHooksOnly in HOME/managed.json allows only the hooks of your organization; " + ask, peers: "hooks are off on that machine"},
		{name: "no sideloading", file: managed, text: `{"disableSideloadFlags":true}`, start: Start{PluginDir: true}, want: Lack{Plugin: true, Hooks: true, Monitor: true, Tool: true},
			says: "disableSideloadFlags in HOME/managed.json forbids --plugin-dir; " + ask, peers: "it was started without claudemesh's plugin"},
		{name: "no sideloading, but installed", file: managed, text: `{"disableSideloadFlags":true}`},
		{name: "no MCP servers", file: managed, text: `{"allowedMcpServers":[]}`, want: Lack{Tool: true},
			says: "allowedMcpServers in HOME/managed.json doesn't contain the MCP server of claudemesh; " + ask, peers: "its claudemesh tool does not run"},
		{name: "MCP servers of others", file: managed, text: `{"allowedMcpServers":[{"serverName":"github"},{"serverCommand":["npx","x"]}]}`, want: Lack{Tool: true},
			says: "allowedMcpServers in HOME/managed.json doesn't contain the MCP server of claudemesh; " + ask, peers: "its claudemesh tool does not run"},
		{name: "our MCP server", file: managed, text: `{"allowedMcpServers":[{"serverName":"plugin:claudemesh:mesh"}]}`},
		{name: "our MCP server denied", file: managed, text: `{"deniedMcpServers":[{"serverName":"plugin:claudemesh:mesh"}]}`, want: Lack{Tool: true},
			says: "deniedMcpServers in HOME/managed.json contains the MCP server of claudemesh; " + ask, peers: "its claudemesh tool does not run"},
		{name: "others denied", file: managed, text: `{"deniedMcpServers":[{"serverName":"x"}]}`},
		{name: "MCP servers of the organization", file: "managed-mcp.json", text: `{"mcpServers":{}}`, want: Lack{Tool: true},
			says: "your organization allows only the MCP servers in HOME/managed-mcp.json; " + ask, peers: "its claudemesh tool does not run"},
		{name: "plugin off", file: user, text: `{"enabledPlugins":{"claudemesh@claudemesh-local":false}}`, want: Lack{Hooks: true, Monitor: true, Tool: true},
			says:  "the plugin is turned off in HOME/.claude/settings.json; turn it on with: claude plugin enable claudemesh@claudemesh-local",
			peers: "it was started without claudemesh's plugin"},
		{name: "other forms", file: managed, text: `{"allowedMcpServers":7,"deniedMcpServers":{},"disableAllHooks":"yes"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			if tc.file != "" {
				files[tc.file] = tc.text
			}
			p := places(t, files)
			home := filepath.Dir(p.Managed[0])
			lacks := p.Lacks(tc.start)
			if tc.says == "" {
				if len(lacks) > 0 {
					t.Errorf("got %q", lacks)
				}
				return
			}
			if len(lacks) != 1 {
				t.Fatalf("got %d: %q", len(lacks), lacks)
			}
			got := lacks[0]
			if text := strings.ReplaceAll(got.String(), home, "HOME"); text != tc.says {
				t.Errorf("it says %q, want %q", text, tc.says)
			}
			if got.Why, got.Do = "", ""; got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if tc.headless == "" {
				tc.headless = tc.peers
			}
			if peers, headless := Peers(lacks, false), Peers(lacks, true); peers != tc.peers || headless != tc.headless {
				t.Errorf("peers are told %q, with -p %q; want %q and %q", peers, headless, tc.peers, tc.headless)
			}
		})
	}
}

func TestMarketplacesLocked(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{}`: false, `{"strictKnownMarketplaces":[]}`: true, `{"strictKnownMarketplaces":[{"source":"github","repo":"x/y"}]}`: true,
		`{"strictKnownMarketplaces":[{"source":"directory","path":"/h/.claudemesh/plugin"}]}`: false,
	} {
		p := places(t, nil)
		if err := os.WriteFile(p.Managed[0], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := p.MarketplacesLocked("/h/.claudemesh/plugin"); (got != "") != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}
