package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// plugin is a loaded plugin.
type plugin struct {
	name     string
	root     string
	data     string // the folder for the plugin's own files
	hooks    map[string][]hookGroup
	servers  map[string]serverConfig
	monitors []monitorConfig
}

type serverConfig struct {
	Command string            `json:"command"`
	Args    []string          `json:"args"`
	Env     map[string]string `json:"env"`
}

type monitorConfig struct {
	Name        string `json:"name"`
	Command     string `json:"command"`
	Description string `json:"description"`
}

// loadPlugins loads the plugins of --plugin-dir and those that the settings enable.
func loadPlugins(o options) ([]plugin, error) {
	var plugins []plugin
	if o.safe {
		return nil, nil
	}
	for _, dir := range o.pluginDirs {
		p, err := loadPlugin(dir, "inline")
		if err != nil {
			return nil, err
		}
		plugins = append(plugins, p)
	}
	settings, err := readSettings()
	if err != nil {
		return nil, err
	}
	hooks, err := settings.hooks()
	if err != nil {
		return nil, err
	}
	plugins = append(plugins, plugin{hooks: hooks})
	for id, enabled := range settings.object("enabledPlugins") {
		if enabled != true {
			continue
		}
		dir, err := settings.folder(id)
		if err != nil {
			fmt.Println("plugin", id, "is not loaded:", err)
			continue
		}
		_, market, _ := strings.Cut(id, "@")
		p, err := loadPlugin(dir, market)
		if err != nil {
			return nil, err
		}
		plugins = append(plugins, p)
	}
	return plugins, nil
}

func loadPlugin(root, origin string) (plugin, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return plugin{}, err
	}
	var manifest struct {
		Name string `json:"name"`
	}
	p := plugin{root: root}
	var hooks struct {
		Hooks map[string][]hookGroup `json:"hooks"`
	}
	var mcp struct {
		Servers map[string]serverConfig `json:"mcpServers"`
	}
	for name, into := range map[string]any{
		".claude-plugin/plugin.json": &manifest, "hooks/hooks.json": &hooks, ".mcp.json": &mcp, "monitors/monitors.json": &p.monitors,
	} {
		b, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) && name != ".claude-plugin/plugin.json" {
			continue
		}
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			return p, fmt.Errorf("plugin %s: %s: %w", root, name, err)
		}
	}
	p.name, p.hooks, p.servers = manifest.Name, hooks.Hooks, mcp.Servers
	p.data = filepath.Join(configDir(), "plugins", "data", p.name+"-"+origin)
	return p, os.MkdirAll(p.data, 0o700)
}

// expand replaces the variables of the plugin's folders in a command or an argument.
func (p plugin) expand(s string) string {
	return strings.NewReplacer("${CLAUDE_PLUGIN_ROOT}", p.root, "${CLAUDE_PLUGIN_DATA}", p.data).Replace(s)
}

// env returns additional environment variables for the plugin's processes.
func (p plugin) env() []string {
	if p.root == "" {
		return nil
	}
	return []string{"CLAUDE_PLUGIN_ROOT=" + p.root, "CLAUDE_PLUGIN_DATA=" + p.data}
}
