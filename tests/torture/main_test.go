package torture

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

var (
	onlyFault = flag.String("fault", "", "only the scenarios with this name, or with this name for the database: kill-broker or kill-broker/sqlite")
	runFor    = flag.Duration("for", 0, "cycle through the scenarios for so long; 0: once, each for a few faults")
)

// The commands under test, set by TestMain, and what has come of them.
var (
	commands harness.Commands
	results  table
	began    time.Time
)

// atOnce is how many scenarios run side by side: they mostly wait.
const atOnce = 6

func TestMain(m *testing.M) {
	if os.Getenv(tellTimeVariable) != "" {
		tellTime()
	}
	if os.Getenv(crowdVariable) != "" {
		if err := crowdMain(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
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
	began = time.Now()
	code := m.Run()
	if err := pgtest.Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	fmt.Printf("\nThe ledger of %s:\n\n", time.Since(began).Round(time.Second))
	if err := results.print(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	if err := printAbuse(os.Stdout, abused); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}
