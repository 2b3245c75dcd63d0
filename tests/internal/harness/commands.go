package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// CommandsVariable is the environment variable that names the directory of commands that make has
// built for all tests. Without it, Build builds the commands.
const CommandsVariable = "CLAUDEMESH_TEST_COMMANDS"

// Commands holds the built commands and the directory of their sources.
type Commands struct {
	Dir        string // the directory of the commands, for a PATH
	Caddy      string
	Claudemesh string
	StandIn    string // the stand-in for Claude Code; not in Dir
	Repo       string
	ours       bool // whether Remove removes Dir
}

// Build builds the commands from the sources in repo, like make build. It uses the race detector if
// the tests do. Remove deletes the commands.
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

// Again builds the commands with another version and returns the broker's path.
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
	cmd.Env = MakeEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// MakeEnv returns the environment of the tests without the options of a make that runs them.
func MakeEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") })
}

// Remove deletes the commands that Build has built.
func (c Commands) Remove() {
	if c.ours {
		_ = os.RemoveAll(c.Dir)
	}
}

// HomeEnv returns the complete environment of a process of a new user.
func HomeEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home,
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_DATA_HOME=" + filepath.Join(home, "data"),
	}
}

// ShortTempDir is like t.TempDir, but its path is short enough for Unix sockets.
func ShortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
