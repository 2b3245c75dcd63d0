package tests

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// The commands under test and where the sources are, set by TestMain.
var caddyBin, claudemeshBin, repoDir string

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
	bin, err := os.MkdirTemp("", "claudemesh-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	if repoDir, err = filepath.Abs(".."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	caddyBin, claudemeshBin = filepath.Join(bin, "caddy"), filepath.Join(bin, "claudemesh")
	// The race detector comes along when it watches the tests themselves.
	args := append([]string{"build", "-o", bin}, raceFlags...)
	build := exec.Command("go", append(args, "./cmd/caddy", "./cmd/claudemesh")...)
	build.Dir = repoDir
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the commands: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if err := pgtest.Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	return code
}
