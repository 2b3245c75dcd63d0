package claude

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// commands are those under test, set by TestMain.
var commands harness.Commands

// atOnce is how many tests run side by side: they mostly wait for other processes.
const atOnce = "4"

func TestMain(m *testing.M) {
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
	if commands, err = harness.Build("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer commands.Remove()
	return m.Run()
}
