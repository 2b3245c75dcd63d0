package harness

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// CommandsVariable names the directory of commands that make has built for all tests
// together. Without it, Build builds them.
const CommandsVariable = "CLAUDEMESH_TEST_COMMANDS"

// Commands are the built commands and where their sources are.
type Commands struct {
	Dir        string // that of the commands, for a PATH
	Caddy      string
	Claudemesh string
	StandIn    string // for Claude Code; not on the PATH of Dir
	Repo       string
	ours       bool // Dir is to be removed
}

// Build builds the commands from the sources in repo, as make build does. The race
// detector comes along when it watches the tests themselves. Remove deletes them.
func Build(repo string) (Commands, error) {
	repo, err := filepath.Abs(repo)
	if err != nil {
		return Commands{}, err
	}
	if dir := os.Getenv(CommandsVariable); dir != "" {
		return commandsIn(dir, repo), nil
	}
	dir, err := os.MkdirTemp("", "claudemesh-bin-")
	if err != nil {
		return Commands{}, err
	}
	c := commandsIn(dir, repo)
	c.ours = true
	if err := c.make("commands", "BIN="+dir); err != nil {
		c.Remove()
		return c, err
	}
	return c, nil
}

func commandsIn(dir, repo string) Commands {
	return Commands{
		Dir: dir, Caddy: filepath.Join(dir, "caddy"), Claudemesh: filepath.Join(dir, "claudemesh"),
		StandIn: filepath.Join(dir, "stand-in", "claude"), Repo: repo,
	}
}

// Again builds the commands under another version and returns the broker's path.
func (c Commands) Again(version string) (string, error) {
	dir := filepath.Join(c.Dir, version)
	err := c.make("build", "BIN="+dir, "VERSION="+version)
	return filepath.Join(dir, "caddy"), err
}

func (c Commands) make(args ...string) error {
	if raceDetector {
		args = append(args, "RACE=1")
	}
	cmd := exec.Command("make", append([]string{"--no-print-directory"}, args...)...)
	cmd.Dir = c.Repo
	// The tests may run under a make of their own, whose options are not for this one.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") })
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Remove deletes what Build has built.
func (c Commands) Remove() {
	if c.ours {
		_ = os.RemoveAll(c.Dir)
	}
}

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
