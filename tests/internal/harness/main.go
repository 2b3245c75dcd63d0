package harness

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

// Main is for the TestMain of a package that tests the built commands. It builds them from the
// sources in repo, calls run, which runs the tests, and exits. Without -parallel, atOnce tests run
// in parallel: they mostly wait for other processes. After the tests, Main calls the functions in
// after; an error from one of them fails the package.
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
