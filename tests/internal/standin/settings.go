package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mark is the byte order mark, which Claude Code skips at the start of its settings.
var mark = []byte("\ufeff")

// settings is the user's settings.json.
type settings map[string]any

func settingsFile() string { return filepath.Join(configDir(), "settings.json") }

func readSettings() (settings, error) {
	s := settings{}
	b, err := os.ReadFile(settingsFile())
	if os.IsNotExist(err) {
		return s, nil
	}
	if err == nil && len(b) > 0 { // an empty file means no settings
		err = json.Unmarshal(bytes.TrimPrefix(b, mark), &s)
	}
	return s, err
}

// hooksOff reports whether the user has disabled hooks, which also disables monitors.
func hooksOff() bool {
	s, err := readSettings()
	return err == nil && s["disableAllHooks"] == true
}

// hooks returns the user's own hooks.
func (s settings) hooks() (hooks map[string][]hookGroup, err error) {
	b, err := json.Marshal(s["hooks"])
	if err == nil {
		err = json.Unmarshal(b, &hooks)
	}
	return hooks, err
}

// write reformats the file and sorts its keys, like the real program.
func (s settings) write() error { return writeJSON(settingsFile(), s) }

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// object returns a member that is an object. It creates the member if it doesn't exist.
func (s settings) object(name string) map[string]any {
	o, ok := s[name].(map[string]any)
	if !ok {
		o = map[string]any{}
		s[name] = o
	}
	return o
}

// folder returns the folder of a marketplace's plugin.
func (s settings) folder(id string) (string, error) {
	name, market, _ := strings.Cut(id, "@")
	entry, _ := s.object("extraKnownMarketplaces")[market].(map[string]any)
	source, _ := entry["source"].(map[string]any)
	root, _ := source["path"].(string)
	if root == "" {
		return "", fmt.Errorf("Marketplace '%s' not found", market)
	}
	m, err := readMarketplace(root)
	if err != nil {
		return "", err
	}
	for _, p := range m.Plugins {
		if p.Name == name {
			return filepath.Join(root, p.Source), nil
		}
	}
	return "", fmt.Errorf("Plugin %q not found in marketplace %q.", name, market)
}

type marketplace struct {
	Name    string `json:"name"`
	Plugins []struct {
		Name   string `json:"name"`
		Source string `json:"source"`
	} `json:"plugins"`
}

func readMarketplace(root string) (marketplace, error) {
	var m marketplace
	b, err := os.ReadFile(filepath.Join(root, ".claude-plugin", "marketplace.json"))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err == nil && m.Name == "" {
		err = errors.New("name: Required")
	}
	return m, err
}

// pluginCommand implements `claude plugin …`.
func pluginCommand(args []string) int {
	if len(args) > 0 && args[0] == "marketplace" {
		args = append([]string{"marketplace " + strings.Join(args[1:min(2, len(args))], "")}, args[min(2, len(args)):]...)
	}
	commands := map[string]func(string) error{
		"validate": validate, "marketplace add": addMarketplace, "marketplace remove": removeMarketplace, "marketplace rm": removeMarketplace,
		"install": installPlugin, "i": installPlugin, "uninstall": uninstallPlugin, "remove": uninstallPlugin, "list": listPlugins,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprintln(os.Stderr, "error: unknown command")
		return 1
	}
	argument := ""
	for _, arg := range args[1:] {
		if !strings.HasPrefix(arg, "-") {
			argument = arg
			break
		}
	}
	if err := commands[args[0]](argument); err != nil {
		fmt.Fprintln(os.Stderr, "✘", err)
		return 1
	}
	return 0
}

func validate(dir string) error {
	if m, err := readMarketplace(dir); err == nil {
		for _, p := range m.Plugins {
			if err := validate(filepath.Join(dir, p.Source)); err != nil {
				return err
			}
		}
	} else if _, err := loadPlugin(dir, "validated"); err != nil {
		return fmt.Errorf("Validation failed: %w", err)
	}
	fmt.Println("✔ Validation passed")
	return nil
}

func addMarketplace(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	m, err := readMarketplace(dir)
	if err != nil {
		return fmt.Errorf("Failed to add marketplace: %w", err)
	}
	return edit(func(s settings, known, _ map[string]any) error {
		source := map[string]any{"source": "directory", "path": dir}
		s.object("extraKnownMarketplaces")[m.Name] = map[string]any{"source": source}
		known[m.Name] = map[string]any{"source": source, "installLocation": dir}
		fmt.Printf("✔ Successfully added marketplace: %s (declared in user settings)\n", m.Name)
		return nil
	})
}

func removeMarketplace(name string) error {
	return edit(func(s settings, known, _ map[string]any) error {
		if s.object("extraKnownMarketplaces")[name] == nil {
			return fmt.Errorf("Failed to remove marketplace: Marketplace '%s' not found", name)
		}
		delete(s.object("extraKnownMarketplaces"), name)
		delete(known, name)
		for id := range s.object("enabledPlugins") {
			if strings.HasSuffix(id, "@"+name) {
				delete(s.object("enabledPlugins"), id)
			}
		}
		return nil
	})
}

func installPlugin(id string) error {
	return edit(func(s settings, _, installed map[string]any) error {
		dir, err := s.folder(id)
		if err != nil {
			return fmt.Errorf("Failed to install plugin %q: %w", id, err)
		}
		name, market, _ := strings.Cut(id, "@")
		cache := filepath.Join(configDir(), "plugins", "cache", market, name, "1.0.0")
		if err := os.MkdirAll(filepath.Dir(cache), 0o700); err != nil {
			return err
		}
		_ = os.RemoveAll(cache)
		if err := os.CopyFS(cache, os.DirFS(dir)); err != nil {
			return err
		}
		s.object("enabledPlugins")[id] = true
		settings(installed).object("plugins")[id] = []any{map[string]any{"scope": "user", "installPath": cache, "version": "1.0.0"}}
		return nil
	})
}

func uninstallPlugin(id string) error {
	return edit(func(s settings, _, installed map[string]any) error {
		if s.object("enabledPlugins")[id] == nil {
			return fmt.Errorf("Failed to uninstall plugin %q: Plugin %q not found in installed plugins", id, id)
		}
		delete(s.object("enabledPlugins"), id)
		delete(settings(installed).object("plugins"), id)
		return nil
	})
}

func listPlugins(string) error {
	s, err := readSettings()
	if err != nil {
		return err
	}
	rows := []map[string]any{}
	for id, enabled := range s.object("enabledPlugins") {
		if dir, err := s.folder(id); err == nil {
			rows = append(rows, map[string]any{"id": id, "scope": "user", "enabled": enabled, "readFromFolder": dir})
		}
	}
	b, err := json.MarshalIndent(rows, "", "  ")
	fmt.Println(string(b))
	return err
}

// edit changes the settings and the two files of plugins.
func edit(change func(s settings, known, installed map[string]any) error) error {
	s, err := readSettings()
	if err != nil {
		return err
	}
	dir := filepath.Join(configDir(), "plugins")
	files := []string{filepath.Join(dir, "known_marketplaces.json"), filepath.Join(dir, "installed_plugins.json")}
	values := []map[string]any{{}, {"version": 2}}
	for i, file := range files {
		if b, err := os.ReadFile(file); err == nil {
			if err := json.Unmarshal(bytes.TrimPrefix(b, mark), &values[i]); err != nil {
				return err
			}
		}
	}
	if err := change(s, values[0], values[1]); err != nil {
		return err
	}
	for i, file := range files {
		if err := writeJSON(file, values[i]); err != nil {
			return err
		}
	}
	return s.write()
}
