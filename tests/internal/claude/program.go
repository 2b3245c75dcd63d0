package claude

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Program is one way to run Claude Code.
type Program struct {
	Name string
	Path string // of the executable
	Real bool   // needs a terminal
}

// RealVariable names the environment variable with the path of the real program.
const RealVariable = "CLAUDEMESH_REAL_CLAUDE"

// Programs returns the stand-in, and the real program where there is one.
func Programs(t testing.TB) []Program {
	t.Helper()
	programs := []Program{StandIn(t)}
	if real, ok := RealProgram(); ok {
		programs = append(programs, real)
	}
	return programs
}

// RealProgram returns the real program, which RealVariable names.
func RealProgram() (Program, bool) {
	path := os.Getenv(RealVariable)
	if path == "" {
		return Program{}, false
	}
	return Program{Name: "claude", Path: path, Real: true}, true
}

var build struct {
	once sync.Once
	dir  string
	out  []byte
	err  error
}

// StandIn builds the stand-in, once per process; Remove deletes it.
func StandIn(t testing.TB) Program {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "cm-standin-"); build.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(build.dir, "claude"), "github.com/claudemesh/claudemesh/tests/internal/standin")
		build.out, build.err = cmd.CombinedOutput()
	})
	if build.err != nil {
		t.Fatalf("build the stand-in: %v\n%s", build.err, build.out)
	}
	return Program{Name: "stand-in", Path: filepath.Join(build.dir, "claude")}
}

// Remove deletes what StandIn has built. It is for the end of a TestMain.
func Remove() {
	if build.dir != "" {
		_ = os.RemoveAll(build.dir)
	}
}
