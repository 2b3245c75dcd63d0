package launch

import (
	"slices"
	"strings"
)

// Args holds the options of a claude command line that concern the session.
type Args struct {
	Resumes   bool   // --resume, -r
	Resume    string // value of --resume: a session id, a title or a path; "" opens the picker
	Continues bool   // --continue, -c
	Forks     bool   // --fork-session
	SessionID string // --session-id
	Prints    bool   // --print, -p
	SafeMode  bool   // --safe-mode
	Bare      bool   // --bare
	StrictMCP bool   // --strict-mcp-config
	Settings  string // --settings
	// Elsewhere means that the session runs in another process, in another directory or on
	// another machine.
	Elsewhere bool
	// NoSession means that claude runs no session.
	NoSession bool
}

// arity is the number of values that an option takes.
type arity int

const (
	none arity = iota
	one
	optional // one, unless the next argument looks like an option
	many     // all arguments until the next option
)

// options lists the options of claude 2.1.330 that take values.
var options = map[string]arity{
	"--add-dir": many, "--agent": one, "--agents": one, "--allowedTools": many, "--allowed-tools": many,
	"--append-system-prompt": one, "--append-system-prompt-file": one, "--autocompact": one, "--betas": many,
	"--cloud": optional, "--debug": optional, "-d": optional, "--debug-file": one, "--disallowedTools": many, "--disallowed-tools": many,
	"--effort": one, "--environment": one, "--fallback-model": one, "--file": many, "--from-pr": optional,
	"--input-format": one, "--json-schema": one, "--max-budget-usd": one, "--max-turns": one, "--mcp-config": many, "--model": one,
	"--name": one, "-n": one, "--output-format": one, "--permission-mode": one, "--permission-prompt-tool": one, "--permission-prompts": one,
	"--plugin-dir": one, "--plugin-url": one, "--prompt-suggestions": optional, "--remote-control": optional,
	"--remote-control-session-name-prefix": one, "--resume": optional, "-r": optional, "--session-id": one,
	"--setting-sources": one, "--settings": one, "--system-prompt": one, "--system-prompt-file": one, "--system-prompt-snapshot": one,
	"--teleport": optional, "--tools": many, "--worktree": optional, "-w": optional,
}

// commands lists claude's subcommands. If the first argument that isn't an option is one of
// them, claude runs no session here.
var commands = []string{
	"agents", "attach", "auth", "auto-mode", "doctor", "gateway", "help", "import", "install", "kill", "logs", "mcp", "plugin", "plugins",
	"purge", "respawn", "rm", "setup-token", "stop", "ultrareview", "update", "upgrade",
}

// Parse parses the arguments of claude the way claude does.
func Parse(args []string) Args {
	var a Args
	word := false // an argument that isn't an option was seen
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			args = nil // the rest is the prompt
		case strings.HasPrefix(arg, "--"):
			name, value, given := strings.Cut(arg, "=")
			if !given {
				value, args = take(options[name], args)
			}
			a.set(name, value)
		case len(arg) > 1 && arg[0] == '-':
			args = a.short(arg, args)
		case !word:
			word = true
			a.NoSession = a.NoSession || slices.Contains(commands, arg)
		}
	}
	return a
}

// take returns the value of an option, if it has one, and the remaining arguments.
func take(n arity, args []string) (value string, rest []string) {
	isOption := func(s string) bool { return len(s) > 1 && s[0] == '-' }
	if n == none || len(args) == 0 || n != one && isOption(args[0]) {
		return "", args
	}
	value, args = args[0], args[1:]
	for n == many && len(args) > 0 && !isOption(args[0]) {
		args = args[1:]
	}
	return value, args
}

// short parses an argument with one or more one-letter options. The first option that takes a
// value takes the rest of the argument.
func (a *Args) short(arg string, args []string) []string {
	for letters := arg[1:]; letters != ""; letters = letters[1:] {
		name := "-" + letters[:1]
		if options[name] == none {
			a.set(name, "")
			continue
		}
		value := letters[1:]
		if value == "" {
			value, args = take(options[name], args)
		}
		a.set(name, value)
		break
	}
	return args
}

func (a *Args) set(name, value string) {
	switch name {
	case "--resume", "-r":
		a.Resumes, a.Resume = true, value
	case "--continue", "-c":
		a.Continues = true
	case "--fork-session":
		a.Forks = true
	case "--session-id":
		a.SessionID = value
	case "--print", "-p":
		a.Prints = true
	case "--safe-mode":
		a.SafeMode = true
	case "--bare":
		a.Bare = true
	case "--strict-mcp-config":
		a.StrictMCP = true
	case "--settings":
		a.Settings = value
	case "--bg", "--background", "--cloud", "--desktop", "--environment", "--from-pr", "--teleport", "--worktree", "-w":
		a.Elsewhere = true
	case "--help", "-h", "--version", "-v":
		a.NoSession = true
	}
}
