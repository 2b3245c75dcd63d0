package tests

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// The commands under test and where the sources are, set by TestMain.
var commands harness.Commands

// atOnce is how many tests run side by side: they mostly wait for other processes.
const atOnce = "8"

func TestMain(m *testing.M) {
	if os.Getenv(echoVariable) != "" {
		runEcho()
	}
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	var err error
	if commands, err = harness.Build(".."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer commands.Remove()
	code := m.Run()
	if err := pgtest.Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	return code
}
