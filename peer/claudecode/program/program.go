package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// binaryVariable is the environment variable with the path of claude, for users who don't
// have claude on the PATH.
const binaryVariable = "CLAUDEMESH_CLAUDE"

// ConfigDir returns the absolute path of the directory of Claude Code's settings, transcripts
// and published status: CLAUDE_CONFIG_DIR, or else ~/.claude.
func ConfigDir() (string, error) {
	dir := os.Getenv("CLAUDE_CONFIG_DIR")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find Claude Code's directory: %w; set HOME or CLAUDE_CONFIG_DIR", err)
		}
		dir = filepath.Join(home, ".claude")
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find Claude Code's directory: %w", err)
	}
	return path, nil
}

// NotFoundError means that there is no claude to run. Its text says what to do.
type NotFoundError struct {
	Path string // what can't be run: the value of CLAUDEMESH_CLAUDE, or a link to claudemesh; "" if the PATH has no claude
	Err  error
}

func (e *NotFoundError) Error() string {
	if errors.Is(e.Err, errSelf) {
		return fmt.Sprintf("%s is claudemesh itself, not Claude Code; set %s to the path of claude", e.Path, binaryVariable)
	}
	if e.Path != "" {
		return fmt.Sprintf("can't run %s, the value of %s: %v; set %[2]s to the path of claude", e.Path, binaryVariable, e.Err)
	}
	return "claude is not on the PATH; install Claude Code (https://code.claude.com/docs), or set " + binaryVariable + " to the path of claude"
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// errSelf means that claude is this program, which would start itself forever.
var errSelf = errors.New("it is claudemesh itself")

// Find returns the absolute path of claude, from CLAUDEMESH_CLAUDE or else from the PATH. Its
// error is a *NotFoundError.
func Find() (string, error) {
	given := os.Getenv(binaryVariable)
	name := given
	if name == "" {
		name = "claude"
	}
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil && isSelf(path) {
		given, err = path, errSelf
	}
	if err != nil {
		return "", &NotFoundError{Path: given, Err: reason(err)}
	}
	return path, nil
}

// reason strips the parts of an error that NotFoundError itself says.
func reason(err error) error {
	var search *exec.Error
	var path *fs.PathError
	if errors.As(err, &search) {
		err = search.Err
	}
	if errors.As(err, &path) {
		err = path.Err
	}
	return err
}

func isSelf(path string) bool {
	own, err := os.Executable()
	if err != nil {
		return false
	}
	a, errA := os.Stat(path)
	b, errB := os.Stat(own)
	return errA == nil && errB == nil && os.SameFile(a, b)
}
