// Command claudemesh-hook does the same as `claudemesh hook`, but starts faster. Claude Code
// runs a hook at every tool call, and most of the cost of a hook is its start; so this program
// links only what a hook needs. Its argument is the path of claudemesh. The default is the
// claudemesh in the same directory.
package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"

	"github.com/claudemesh/claudemesh/peer/claudecode/hook"
)

// version is set by the linker; see the Makefile.
var version string

func main() {
	// A hook does one thing after the other; more threads would only cost time.
	runtime.GOMAXPROCS(1)
	hook.Answer(context.Background(), claudemesh(), version, os.Stdin, os.Stdout, os.Stderr)
}

func claudemesh() string {
	if len(os.Args) > 1 {
		return os.Args[1]
	}
	own, err := os.Executable()
	if err != nil {
		return "claudemesh" // from the PATH
	}
	return filepath.Join(filepath.Dir(own), "claudemesh")
}
