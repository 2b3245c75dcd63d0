package tests

import (
	"os"
	"testing"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// The commands under test and the directory of the sources, set by TestMain.
var commands harness.Commands

func TestMain(m *testing.M) {
	if os.Getenv(echoVariable) != "" {
		runEcho()
	}
	if socket := os.Getenv(machinePath); socket != "" {
		runMachineCommand(socket, os.Args[1:])
	}
	harness.Main("..", 8, func(c harness.Commands) int {
		commands = c
		return m.Run()
	}, checkPagesRan, pgtest.Shutdown)
}
