package diagnose

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/settings"
	"github.com/claudemesh/claudemesh/peer/local"
)

// Start is how a Claude Code is started, as far as that decides what it loads.
type Start struct {
	SafeMode  bool   // --safe-mode
	Bare      bool   // --bare
	StrictMCP bool   // --strict-mcp-config
	Settings  string // --settings: a file, or JSON
	PluginDir bool   // the plugin comes by --plugin-dir, because it is not installed
}

// Lack is something of ours that Claude Code leaves out, silently.
type Lack struct {
	Hooks   bool // our hooks do not run
	Monitor bool // nothing wakes an idle session
	Tool    bool // the model has no check_messages
	Plugin  bool // Claude Code would not start with --plugin-dir
	Why     string
	Do      string // what the user can do; "": nothing need be done
}

// String says what is wrong and what to do.
func (l Lack) String() string {
	if l.Do == "" {
		return l.Why
	}
	return l.Why + "; " + l.Do
}

const (
	askOrganization = "ask whoever manages this machine to allow claudemesh"
	managedMCP      = "managed-mcp.json"
)

// Lacks returns what of ours a Claude Code that is started so leaves out.
func (p Places) Lacks(s Start) []Lack {
	var found []Lack
	if s.SafeMode {
		found = append(found, Lack{Hooks: true, Monitor: true, Tool: true, Why: "--safe-mode starts Claude Code without plugins", Do: "leave it out"})
	}
	if s.Bare {
		found = append(found, Lack{Hooks: true, Why: "--bare starts Claude Code without hooks", Do: "leave it out"})
	}
	if s.StrictMCP {
		found = append(found, Lack{Tool: true, Why: "--strict-mcp-config leaves out the tools of plugins", Do: "leave it out"})
	}
	if s.Settings != "" {
		text, where := []byte(s.Settings), "--settings"
		if !strings.HasPrefix(strings.TrimSpace(s.Settings), "{") {
			where = s.Settings
			text, _ = os.ReadFile(s.Settings) // Claude Code itself complains of one that is not there
		}
		if isTrue(text, "disableAllHooks") {
			found = append(found, hooksOff("disableAllHooks", where, "take it out"))
		}
	}
	for _, path := range slices.Concat([]string{p.User}, p.Project) {
		found = append(found, p.ofUser(path)...)
	}
	for _, path := range p.Managed {
		found = append(found, ofOrganization(path, s.PluginDir)...)
	}
	for _, path := range p.ManagedMCP {
		if _, err := os.Stat(path); err == nil {
			found = append(found, Lack{Tool: true, Why: "your organization decides which MCP servers there are, in " + path, Do: askOrganization})
		}
	}
	return found
}

func hooksOff(setting, path, do string) Lack {
	return Lack{Hooks: true, Monitor: true, Why: "all hooks are turned off by " + setting + " in " + path, Do: do}
}

// read returns a file of settings; nil when there is none.
func read(path string) (text []byte, unreadable []Lack) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = settings.Check(text)
	}
	if err != nil {
		return nil, []Lack{{Why: fmt.Sprintf("Claude Code can't read its settings in %s: %v", path, err), Do: "repair the file"}}
	}
	return text, nil
}

func (p Places) ofUser(path string) []Lack {
	text, found := read(path)
	if isTrue(text, "disableAllHooks") {
		found = append(found, hooksOff("disableAllHooks", path, "take it out"))
	}
	if pluginOff(text) {
		found = append(found, Lack{Hooks: true, Monitor: true, Tool: true, Why: "the plugin is turned off in " + path, Do: "turn it on with: claude plugin enable " + plugin.ID})
	}
	return found
}

func pluginOff(text []byte) bool {
	enabled, _ := settings.Lookup(text, "enabledPlugins", plugin.ID)
	return string(enabled) == "false"
}

// ofOrganization is ofUser for settings that a user can't change.
func ofOrganization(path string, pluginDir bool) []Lack {
	text, found := read(path)
	add := func(l Lack) {
		l.Do = askOrganization
		found = append(found, l)
	}
	if isTrue(text, "disableAllHooks") {
		add(hooksOff("disableAllHooks", path, ""))
	}
	if isTrue(text, "allowManagedHooksOnly") {
		add(Lack{Hooks: true, Monitor: true, Why: "only hooks of your organization run, because of allowManagedHooksOnly in " + path})
	}
	if pluginOff(text) {
		add(Lack{Hooks: true, Monitor: true, Tool: true, Why: "the plugin is turned off in " + path})
	}
	if isTrue(text, "disableSideloadFlags") && pluginDir {
		add(Lack{Plugin: true, Hooks: true, Monitor: true, Tool: true, Why: "Claude Code takes no plugin by --plugin-dir, because of disableSideloadFlags in " + path})
	}
	if servers, ok := names(text, "allowedMcpServers"); ok && !slices.ContainsFunc(servers, ofMesh) {
		add(Lack{Tool: true, Why: "our MCP server is not among allowedMcpServers in " + path})
	}
	if servers, _ := names(text, "deniedMcpServers"); slices.ContainsFunc(servers, ofMesh) {
		add(Lack{Tool: true, Why: "our MCP server is among deniedMcpServers in " + path})
	}
	return found
}

// names are the values of a list of MCP servers: their names, commands and addresses.
func names(text []byte, setting string) (list []string, ok bool) {
	raw, ok := settings.Lookup(text, setting)
	if !ok {
		return nil, false
	}
	var entries []map[string]json.RawMessage
	if json.Unmarshal(raw, &entries) != nil {
		return nil, false
	}
	for _, e := range entries {
		for _, value := range e {
			list = append(list, string(value))
		}
	}
	return list, true
}

// MarketplacesLocked says which setting keeps Claude Code from installing our plugin; ""
// when none does. Our marketplace is the directory root.
func (p Places) MarketplacesLocked(root string) string {
	for _, path := range p.Managed {
		text, _ := read(path)
		raw, ok := settings.Lookup(text, "strictKnownMarketplaces")
		if ok && !strings.Contains(string(raw), root) {
			return "Claude Code installs plugins of listed marketplaces only, because of strictKnownMarketplaces in " + path + "; " + askOrganization
		}
	}
	return ""
}

// Peers says in words for peers why a session that lacks so much can't read its messages;
// "" when it can: it needs the tool, and something that tells it of them. With -p, which
// is headless, there are no monitors.
func Peers(lacks []Lack, headless bool) string {
	var all Lack
	for _, l := range lacks {
		all.Hooks, all.Monitor, all.Tool = all.Hooks || l.Hooks, all.Monitor || l.Monitor, all.Tool || l.Tool
	}
	switch {
	case all.Tool && all.Hooks:
		return local.NoPlugin
	case all.Tool:
		return local.NoTool
	case all.Hooks && (all.Monitor || headless):
		return local.NoHooks
	}
	return ""
}
