// Command claudemesh-hook is `claudemesh hook` in a program of its own. Claude Code runs
// it at every call of a tool, and most of a hook's cost is its start; so it links only
// what a hook needs. Its argument is the path of claudemesh; without one, that is beside it.
package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"

	"github.com/claudemesh/claudemesh/peer/claudecode/hook"
)

// version is set by the linker, see the Makefile.
var version string

func main() {
	// One thing happens after the other here; more threads would only have to be made.
	runtime.GOMAXPROCS(1)
	hook.Answer(context.Background(), claudemesh(), version, os.Stdin, os.Stdout, os.Stderr)
}

func claudemesh() string {
	if len(os.Args) > 1 {
		return os.Args[1]
	}
	own, err := os.Executable()
	if err != nil {
		return "claudemesh" // that of the PATH
	}
	return filepath.Join(filepath.Dir(own), "claudemesh")
}
