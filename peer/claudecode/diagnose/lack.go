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

// Start holds the options of claude that decide what it loads.
type Start struct {
	SafeMode  bool   // --safe-mode
	Bare      bool   // --bare
	StrictMCP bool   // --strict-mcp-config
	Settings  string // --settings: a file, or JSON
	PluginDir bool   // --plugin-dir loads the plugin, because it isn't installed
}

// Lack is a part of claudemesh that Claude Code silently doesn't load.
type Lack struct {
	Hooks   bool // our hooks don't run
	Monitor bool // nothing wakes an idle session
	Tool    bool // the model has no check_messages
	Plugin  bool // Claude Code refuses to start with --plugin-dir
	Why     string
	Do      string // what the user can do; "" if there is nothing to do
}

// String says what is wrong and what to do about it.
func (l Lack) String() string {
	if l.Do == "" {
		return l.Why
	}
	return l.Why + "; " + l.Do
}

const (
	askOrganization = "ask the administrator of this machine to allow claudemesh"
	managedMCP      = "managed-mcp.json"
)

// Lacks returns the parts of claudemesh that a Claude Code with these options doesn't load.
func (p Places) Lacks(s Start) []Lack {
	var found []Lack
	if s.SafeMode {
		found = append(found, Lack{Hooks: true, Monitor: true, Tool: true, Why: "--safe-mode starts Claude Code without plugins", Do: "leave it out"})
	}
	if s.Bare {
		found = append(found, Lack{Hooks: true, Why: "--bare starts Claude Code without hooks", Do: "leave it out"})
	}
	if s.StrictMCP {
		found = append(found, Lack{Tool: true, Why: "--strict-mcp-config starts Claude Code without the tools of plugins", Do: "leave it out"})
	}
	if s.Settings != "" {
		text, where := []byte(s.Settings), "--settings"
		if !strings.HasPrefix(strings.TrimSpace(s.Settings), "{") {
			where = s.Settings
			text, _ = os.ReadFile(s.Settings) // Claude Code itself reports a missing file
		}
		if isTrue(text, "disableAllHooks") {
			found = append(found, hooksOff("disableAllHooks", where, "remove that setting"))
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
			found = append(found, Lack{Tool: true, Why: "your organization allows only the MCP servers in " + path, Do: askOrganization})
		}
	}
	return found
}

func hooksOff(setting, path, do string) Lack {
	return Lack{Hooks: true, Monitor: true, Why: setting + " in " + path + " turns off all hooks", Do: do}
}

// read returns the text of a settings file, or nil if there is none.
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
		found = append(found, hooksOff("disableAllHooks", path, "remove that setting"))
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

// ofOrganization is ofUser for settings that the user can't change.
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
		add(Lack{Hooks: true, Monitor: true, Why: "allowManagedHooksOnly in " + path + " allows only the hooks of your organization"})
	}
	if pluginOff(text) {
		add(Lack{Hooks: true, Monitor: true, Tool: true, Why: "the plugin is turned off in " + path})
	}
	if isTrue(text, "disableSideloadFlags") && pluginDir {
		add(Lack{Plugin: true, Hooks: true, Monitor: true, Tool: true, Why: "disableSideloadFlags in " + path + " forbids --plugin-dir"})
	}
	if servers, ok := names(text, "allowedMcpServers"); ok && !slices.ContainsFunc(servers, ofMesh) {
		add(Lack{Tool: true, Why: "allowedMcpServers in " + path + " doesn't contain the MCP server of claudemesh"})
	}
	if servers, _ := names(text, "deniedMcpServers"); slices.ContainsFunc(servers, ofMesh) {
		add(Lack{Tool: true, Why: "deniedMcpServers in " + path + " contains the MCP server of claudemesh"})
	}
	return found
}

// names returns the values in a list of MCP servers: names, commands and addresses.
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

// MarketplacesLocked says which setting keeps Claude Code from installing our plugin, or
// returns "". root is the directory of our marketplace.
func (p Places) MarketplacesLocked(root string) string {
	for _, path := range p.Managed {
		text, _ := read(path)
		raw, ok := settings.Lookup(text, "strictKnownMarketplaces")
		if ok && !strings.Contains(string(raw), root) {
			return "strictKnownMarketplaces in " + path + " allows only plugins of listed marketplaces; " + askOrganization
		}
	}
	return ""
}

// Peers tells peers why a session with these lacks can't read its messages. It returns "" if
// the session can: it has the tool, and a hook or a monitor announces messages. A headless
// session (-p) has no monitors.
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
