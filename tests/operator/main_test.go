package operator

import (
	"fmt"
	"os"
	"testing"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// The commands under test and the directory of the sources, and a directory for what tests share, set by TestMain.
var (
	commands harness.Commands
	shared   string
)

func TestMain(m *testing.M) {
	var err error
	if commands, err = harness.Build("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if shared, err = os.MkdirTemp("", "claudemesh-shared-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	commands.Remove()
	_ = os.RemoveAll(shared)
	if err := pgtest.Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}
