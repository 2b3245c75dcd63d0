package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const (
	// Patience is how long anything that must happen may take.
	Patience = 20 * time.Second
	// poll is the pause between looks at what can't be waited for.
	poll = 20 * time.Millisecond
)

// Commands are the built commands and where their sources are.
type Commands struct {
	Dir        string // that of the two commands, for a PATH
	Caddy      string
	Claudemesh string
	Repo       string
}

// Build builds the commands from the sources in repo. The race detector comes along
// when it watches the tests themselves. Remove deletes them.
func Build(repo string) (Commands, error) {
	dir, err := os.MkdirTemp("", "claudemesh-bin-")
	if err != nil {
		return Commands{}, err
	}
	c := Commands{Dir: dir, Caddy: filepath.Join(dir, "caddy"), Claudemesh: filepath.Join(dir, "claudemesh")}
	if c.Repo, err = filepath.Abs(repo); err != nil {
		return c, err
	}
	args := append([]string{"build", "-o", dir}, raceFlags...)
	build := exec.Command("go", append(args, "./cmd/caddy", "./cmd/claudemesh", "./cmd/claudemesh-hook")...)
	build.Dir = c.Repo
	if out, err := build.CombinedOutput(); err != nil {
		c.Remove()
		return c, fmt.Errorf("build the commands: %w\n%s", err, out)
	}
	return c, nil
}

// Remove deletes the built commands.
func (c Commands) Remove() { _ = os.RemoveAll(c.Dir) }

// HomeEnv is the whole environment of a process whose user has nothing yet.
func HomeEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home,
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_DATA_HOME=" + filepath.Join(home, "data"),
	}
}

// ShortTempDir is like t.TempDir, but short enough for unix sockets in it.
func ShortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// FreePort returns a port of 127.0.0.1 that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Eventually waits until ok returns true.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(poll)
	}
}
