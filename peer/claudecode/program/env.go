package program

import "strings"

// handed lists the variables that Claude Code passes to the processes that it starts. A claude
// that inherits them believes that it is part of that session.
var handed = map[string]bool{
	"CLAUDECODE":                   true,
	"CLAUDE_CODE_SESSION_ID":       true,
	"CLAUDE_CODE_CHILD_SESSION":    true,
	"CLAUDE_CODE_ENTRYPOINT":       true,
	"CLAUDE_CODE_EXECPATH":         true,
	"CLAUDE_CODE_MESSAGING_SOCKET": true,
	"CLAUDE_CODE_MESSAGING_TOKEN":  true,
	"CLAUDE_CODE_SESSION_ATTENDED": true,
	"CLAUDE_CODE_SESSION_KIND":     true,
	"CLAUDE_EFFORT":                true,
	"CLAUDE_ENV_FILE":              true,
	"CLAUDE_PID":                   true,
	"CLAUDE_PLUGIN_DATA":           true,
	"CLAUDE_PLUGIN_ROOT":           true,
	"CLAUDE_PROJECT_DIR":           true,
}

// CleanEnv returns env, whose entries are KEY=VALUE, without the variables that a Claude Code
// session passes to its children. The user's own settings stay.
func CleanEnv(env []string) []string {
	clean := make([]string, 0, len(env))
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if handed[name] || name == "AI_AGENT" && strings.HasPrefix(value, "claude-code") {
			continue
		}
		clean = append(clean, entry)
	}
	return clean
}
