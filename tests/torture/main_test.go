package torture

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

var (
	onlyFault = flag.String("fault", "", "run only the scenarios with this name, with or without what follows a slash: kill-broker or kill-broker/sqlite")
	runFor    = flag.Duration("for", 0, "cycle through the scenarios for this time; 0 runs each once, for a few faults")
	seed      = flag.Uint64("seed", 0, "the seed for the order of the faults in namespaces; 0 chooses one")
)

// The commands under test, set by TestMain, and the results.
var (
	commands harness.Commands
	results  table
	waits    gapTable
	began    time.Time
)

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
	harness.Main("../..", 6, func(c harness.Commands) int {
		commands, began = c, time.Now()
		return m.Run()
	}, pgtest.Shutdown, printLedger, func() error { return printAbuse(os.Stdout, abused) })
}

func printLedger() error {
	fmt.Printf("\nThe ledger of %s:\n\n", time.Since(began).Round(time.Second))
	return errors.Join(results.print(os.Stdout), waits.print(os.Stdout))
}
