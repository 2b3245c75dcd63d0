package cli

import (
	"os"
	"os/exec"
	"strings"
)

// ownName is the name of this program.
const ownName = "claudemesh"

// calledAs returns how the user calls this program in a shell, so that the user can copy a
// hint as it is. It is a path if PATH leads to another program, and it sets
// CLAUDEMESH_CONFIG_DIR if the environment does.
func calledAs() string {
	word := ownName
	if own, err := os.Executable(); err == nil {
		if found, err := exec.LookPath(ownName); err != nil || !sameFile(found, own) {
			word = shellWord(os.Args[0])
		}
	}
	if dir := os.Getenv("CLAUDEMESH_CONFIG_DIR"); dir != "" {
		word = "CLAUDEMESH_CONFIG_DIR=" + shellWord(dir) + " " + word
	}
	return word
}

// copyable replaces claudemesh by calledAs in the commands that a text has in backquotes.
func copyable(text string) string {
	if !strings.Contains(text, "`"+ownName+" ") {
		return text
	}
	return strings.ReplaceAll(text, "`"+ownName+" ", "`"+calledAs()+" ")
}
