package torture

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// tellTimeVariable is the environment variable that turns the test binary into a program that
// prints the time; see tellTime.
const tellTimeVariable = "CLAUDEMESH_TORTURE_TELL_TIME"

// tellTime prints the time, in Unix seconds, for each line that it reads.
func tellTime() {
	var line string
	for {
		if _, err := fmt.Scanln(&line); err != nil {
			os.Exit(0)
		}
		fmt.Println(time.Now().Unix())
	}
}

// TestClock moves the clock of a process that prints the time.
func TestClock(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), tellTimeVariable+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	ask := func() (ahead time.Duration) {
		t.Helper()
		var at int64
		fmt.Fprintln(in, "x")
		if _, err := fmt.Fscan(out, &at); err != nil {
			t.Fatal(err)
		}
		return time.Until(time.Unix(at, 0)).Round(time.Minute)
	}
	if ahead := ask(); ahead != 0 {
		t.Fatalf("ahead by %s at first", ahead)
	}
	c := harness.NewClock(t, cmd.Process.Pid)
	for _, want := range []time.Duration{0, time.Hour, -time.Hour, 0} {
		c.Set(t, want)
		if ahead := ask(); ahead != want {
			t.Errorf("ahead by %s, want %s", ahead, want)
		}
	}
}
