package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// options holds the command line.
type options struct {
	print      bool
	prompt     string
	sessionID  string
	resume     string
	proceed    bool // --continue
	fork       bool
	name       string
	mode       string // the permission mode
	allowed    []string
	pluginDirs []string
	settings   string // a settings file
	safe       bool   // no plugins
	strictMCP  bool   // no MCP servers of plugins
	version    bool
}

var uuid = regexp.MustCompile(`(?i)^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// parseArgs reads the command line.
func parseArgs(args []string) (options, error) {
	o := options{mode: "auto"}
	for len(args) > 0 {
		arg, value, given := strings.Cut(args[0], "=")
		if !strings.HasPrefix(arg, "-") {
			o.prompt = strings.TrimSpace(o.prompt + " " + args[0])
			args = args[1:]
			continue
		}
		args = args[1:]
		switch arg {
		case "-p", "--print":
			o.print = true
			continue
		case "-c", "--continue":
			o.proceed = true
			continue
		case "--fork-session":
			o.fork = true
			continue
		case "-v", "--version":
			o.version = true
			continue
		case "--debug", "--verbose":
			continue
		case "--safe-mode":
			o.safe = true
			continue
		case "--strict-mcp-config":
			o.strictMCP = true
			continue
		}
		if !given {
			if len(args) == 0 {
				return o, fmt.Errorf("error: option '%s' argument missing", arg)
			}
			value, args = args[0], args[1:]
		}
		if err := o.set(arg, value); err != nil {
			return o, err
		}
		for strings.HasPrefix(arg, "--allowed") && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
			_ = o.set(arg, args[0]) // the option takes all words up to the next option
			args = args[1:]
		}
	}
	return o, o.check()
}

func (o *options) set(arg, value string) error {
	switch arg {
	case "--session-id":
		o.sessionID = value
	case "-r", "--resume":
		o.resume = value
	case "-n", "--name":
		o.name = value
	case "--permission-mode":
		o.mode = value
	case "--allowedTools", "--allowed-tools":
		o.allowed = append(o.allowed, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })...)
	case "--plugin-dir":
		o.pluginDirs = append(o.pluginDirs, value)
	case "--settings":
		o.settings = value
	case "--model", "--output-format":
	default:
		return fmt.Errorf("error: unknown option '%s'", arg)
	}
	return nil
}

func (o *options) check() error {
	if o.sessionID != "" && !uuid.MatchString(o.sessionID) {
		return fmt.Errorf("Error: Invalid session ID. Must be a valid UUID.")
	}
	if o.sessionID != "" && (o.resume != "" || o.proceed) && !o.fork {
		return fmt.Errorf("Error: --session-id with --continue or --resume also needs --fork-session.")
	}
	return nil
}

// entrypoint marks the transcripts of -p.
func (o *options) entrypoint() string {
	if o.print {
		return "sdk-cli"
	}
	return "cli"
}

// asks reports whether a tool needs the user's permission.
func (o *options) asks(tool string) bool {
	return (o.mode == "manual" || o.mode == "default") && !slices.Contains(o.allowed, tool)
}

func readPrompt() string {
	b, err := io.ReadAll(os.Stdin)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
