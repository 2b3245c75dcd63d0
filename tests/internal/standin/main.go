package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const version = "2.1.330"

func main() {
	args := os.Args[1:]
	if len(args) > 0 && args[0] == "plugin" {
		os.Exit(pluginCommand(args[1:]))
	}
	o, err := parseArgs(args)
	if err != nil {
		fail(err)
	}
	if o.version {
		fmt.Println(version + " (Claude Code)")
		return
	}
	if o.print && o.prompt == "" {
		o.prompt = readPrompt()
	}
	s, source, err := openSession(o)
	if err != nil {
		fail(err)
	}
	os.Exit(newApp(o, s).run(source))
}

// fail exits like the real program after a wrong command line.
func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// configDir returns Claude Code's config directory.
func configDir() string {
	if dir := os.Getenv("CLAUDE_CONFIG_DIR"); dir != "" {
		return dir
	}
	return filepath.Join(os.Getenv("HOME"), ".claude")
}
