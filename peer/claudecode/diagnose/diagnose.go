package diagnose

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/peer/claudecode/settings"
)

// Places lists the files from which Claude Code reads its settings. Each may be missing.
type Places struct {
	User    string   // settings.json of the user
	State   string   // .claude.json, with the MCP servers of the user and of projects
	Project []string // settings of the project
	Managed []string // settings of the organization
	// ManagedMCP lists MCP servers of the organization. If there is such a file, Claude Code
	// ignores all other MCP servers.
	ManagedMCP []string
}

// PlacesOf returns the places for a session in cwd. configDir is Claude Code's directory.
func PlacesOf(configDir, cwd string) Places {
	p := Places{
		User:    filepath.Join(configDir, "settings.json"),
		State:   filepath.Join(filepath.Dir(configDir), ".claude.json"),
		Project: []string{filepath.Join(cwd, ".claude", "settings.json"), filepath.Join(cwd, ".claude", "settings.local.json")},
	}
	if os.Getenv("CLAUDE_CONFIG_DIR") != "" {
		p.State = filepath.Join(configDir, ".claude.json")
	}
	p.Project = slices.DeleteFunc(p.Project, func(path string) bool { return path == p.User }) // if cwd is the home directory
	managed := "/etc/claude-code"
	if runtime.GOOS == "darwin" {
		managed = "/Library/Application Support/ClaudeCode"
	}
	p.Managed = []string{filepath.Join(managed, "managed-settings.json")}
	p.ManagedMCP = []string{filepath.Join(managed, managedMCP)}
	more, err := filepath.Glob(filepath.Join(managed, "managed-settings.d", "*.json"))
	if err == nil {
		p.Managed = append(p.Managed, more...)
	}
	return p
}

func isTrue(text []byte, name string) bool {
	v, _ := settings.Lookup(text, name)
	return string(v) == "true"
}

// Rivals reports other mesh clients that are attached to Claude Code. With them, a session
// would report its events twice and be told of messages twice.
func (p Places) Rivals() []string {
	var found []string
	for _, path := range slices.Concat([]string{p.User}, p.Project) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if command := meshHook(text); command != "" {
			found = append(found, fmt.Sprintf("%s contains hooks of another mesh client (%s); remove them", path, command))
		}
		for _, id := range otherPlugins(text) {
			found = append(found, fmt.Sprintf("%s enables the plugin %s of another mesh client; remove it with: claude plugin uninstall %s", path, id, id))
		}
	}
	text, err := os.ReadFile(p.State)
	if err != nil {
		return found
	}
	for _, server := range meshServers(text) {
		found = append(found, fmt.Sprintf("%s contains the MCP server %s of another mesh client; remove it with: claude mcp remove %s", p.State, server, server))
	}
	return found
}

// decode decodes the value of a setting into v. It leaves out the parts of the value that have
// other types than v.
func decode(text []byte, v any, setting string) {
	raw, _ := settings.Lookup(text, setting)
	_ = json.Unmarshal(raw, v) // fails if the setting is missing or has another form
}

// meshHook returns the command of a hook that belongs to a mesh client, or "". Our own hooks
// are in the plugin, never in the settings.
func meshHook(text []byte) string {
	var events map[string]json.RawMessage
	decode(text, &events, "hooks")
	for _, name := range slices.Sorted(maps.Keys(events)) {
		var matchers []struct {
			Hooks []struct {
				Command string   `json:"command"`
				Args    []string `json:"args"`
			} `json:"hooks"`
		}
		_ = json.Unmarshal(events[name], &matchers) // an event of another form has no hooks
		for _, m := range matchers {
			for _, h := range m.Hooks {
				if command := strings.Join(append([]string{h.Command}, h.Args...), " "); ofMesh(command) {
					return command
				}
			}
		}
	}
	return ""
}

func ofMesh(s string) bool { return strings.Contains(strings.ToLower(s), "claudemesh") }

func otherPlugins(text []byte) (ids []string) {
	var plugins map[string]bool
	decode(text, &plugins, "enabledPlugins")
	for id, enabled := range plugins {
		if enabled && id != plugin.ID && ofMesh(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// servers holds MCP servers by name.
type servers map[string]struct {
	Command string   `json:"command"`
	Args    []string `json:"args"`
}

// meshServers returns the names of the mesh clients' MCP servers in Claude Code's state, those of the
// user and those of projects.
func meshServers(text []byte) (names []string) {
	var own servers
	decode(text, &own, "mcpServers")
	var projects map[string]struct {
		Servers servers `json:"mcpServers"`
	}
	decode(text, &projects, "projects")
	add := func(list servers) {
		for name, server := range list {
			if ofMesh(name + " " + server.Command + " " + strings.Join(server.Args, " ")) {
				names = append(names, name)
			}
		}
	}
	add(own)
	for _, project := range projects {
		add(project.Servers)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
