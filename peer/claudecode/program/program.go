package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// BinaryVariable names the environment variable that holds the path of claude, for
// those who don't have it on the PATH.
const BinaryVariable = "CLAUDEMESH_CLAUDE"

// ConfigDir returns the absolute directory of Claude Code's settings, transcripts and
// published status: CLAUDE_CONFIG_DIR, else ~/.claude.
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

// NotFoundError tells that there is no claude to run, and what to do about it.
type NotFoundError struct {
	Path string // what BinaryVariable says; "" when the PATH was searched
	Err  error
}

func (e *NotFoundError) Error() string {
	if e.Path != "" {
		return fmt.Sprintf("%s is %s, which can't be run: %v", BinaryVariable, e.Path, e.Err)
	}
	return "claude is not on the PATH; install Claude Code (https://code.claude.com/docs), or set " + BinaryVariable + " to where it is"
}

func (e *NotFoundError) Unwrap() error { return e.Err }

// errSelf is a claude that is this very program: it would start itself for ever.
var errSelf = errors.New("it is claudemesh itself")

// Find returns the absolute path of claude: what BinaryVariable says, else what is on
// the PATH. It fails with a *NotFoundError.
func Find() (string, error) {
	given := os.Getenv(BinaryVariable)
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

// reason leaves out what NotFoundError says itself.
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
