package harness

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// Main is for the TestMain of a package that tests the built commands: it builds them from
// the sources in repo, has run run the tests, and exits. atOnce tests run side by side if
// -parallel says nothing else: they mostly wait for other processes. The functions in after
// are called when the tests are over; one that fails fails the package.
func Main(repo string, atOnce int, run func(Commands) int, after ...func() error) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
			panic(err)
		}
	}
	os.Exit(buildAndRun(repo, run, after))
}

func buildAndRun(repo string, run func(Commands) int, after []func() error) int {
	commands, err := Build(repo)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer commands.Remove()
	code := run(commands)
	for _, f := range after {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	return code
}
