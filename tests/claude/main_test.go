package claude

import (
	"testing"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// commands are the commands under test, set by TestMain.
var commands harness.Commands

func TestMain(m *testing.M) {
	harness.Main("../..", 4, func(c harness.Commands) int {
		commands = c
		return m.Run()
	})
}
