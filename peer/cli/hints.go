package cli

import (
	"os"
	"os/exec"
	"strings"
)

// ownName is the name of this program.
const ownName = "claudemesh"

// calledAs returns how the user calls this program in a shell, so that a hint can be
// copied as it stands: by its path when the PATH leads elsewhere, and with the config
// directory that the environment names.
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

// copyable writes the commands that a text quotes as calledAs does.
func copyable(text string) string {
	if !strings.Contains(text, "`"+ownName+" ") {
		return text
	}
	return strings.ReplaceAll(text, "`"+ownName+" ", "`"+calledAs()+" ")
}
