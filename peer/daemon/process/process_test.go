package process

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestAlive(t *testing.T) {
	t.Parallel()
	me, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !me.Alive() {
		t.Error("this process does not count as alive")
	}
	other := me
	other.Start += "1"
	if other.Alive() {
		t.Error("a process with the same pid and another start time counts as alive")
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		if _, err := Of(pid); !errors.Is(err, ErrGone) {
			t.Errorf("%d: %v", pid, err)
		}
	}
}

func TestEndedProcessIsGone(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("cat")
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
	id, err := Of(cmd.Process.Pid)
	if err != nil || !id.Alive() {
		t.Fatalf("a running process: %v, %v", id, err)
	}
	in.Close()
	// The output ends when the process does. Nobody has waited for it yet, so it is a zombie
	// now or in a moment.
	if _, err := out.Read(make([]byte, 1)); err == nil {
		t.Fatal("cat printed something")
	}
	await.Until(t, "the process has ended", func() bool { return !id.Alive() })
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if id.Alive() {
		t.Error("a process counts as alive after Wait")
	}
}
