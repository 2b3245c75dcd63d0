package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/peer/configdir"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
)

// ErrNotRunning means that no daemon answers.
var ErrNotRunning = errors.New("the claudemesh daemon is not running")

// Build identifies the program that a process runs. A process that finds a daemon of an older
// build replaces it.
type Build struct {
	Version string    `json:"version"`
	Built   time.Time `json:"built"` // when the executable was written
}

// Newer reports whether b is a newer build than other.
func (b Build) Newer(other Build) bool { return b.Built.After(other.Built) }

// OwnBuild returns the build of this process.
func OwnBuild(version string) Build {
	exe, err := os.Executable()
	if err != nil {
		return Build{Version: version}
	}
	return BuildOf(exe, version)
}

// BuildOf returns the build of the program at a path.
func BuildOf(executable, version string) Build {
	b := Build{Version: version}
	if info, err := os.Stat(executable); err == nil {
		b.Built = info.ModTime().UTC()
	}
	return b
}

// Info contains what a caller needs to reach the daemon as its owner. The daemon writes it,
// with mode 0600, after it has opened its socket.
type Info struct {
	PID    int    `json:"pid"`
	Build  Build  `json:"build"`
	Socket string `json:"socket"`
	Token  string `json:"token"`
}

// InfoName is the name of Info's file in the config directory.
const InfoName = "daemon.json"

// ReadInfo reads the Info of the daemon of that directory. It returns ErrNotRunning if there is
// none. The daemon may have died since it wrote the file.
func ReadInfo(dir configdir.Dir) (Info, error) {
	var info Info
	err := readJSON(dir.Path(InfoName), &info)
	if errors.Is(err, fs.ErrNotExist) {
		return info, ErrNotRunning
	}
	return info, err
}

// Ticket lets the child processes of a claude process act for its session. The daemon writes
// it, with mode 0600, at Register, and removes it after the claude process has ended.
type Ticket struct {
	PID       int    `json:"pid"`                 // of claude
	Domain    string `json:"pidDomain,omitempty"` // see Register
	ProcStart string `json:"procStart"`           // see Register
	SessionID string `json:"sessionId"`
	Token     string `json:"token"`
}

// TicketPath returns the path of a claude process's ticket. Its name includes the pid
// namespace, because containers that share the directory may have the same process ids.
func TicketPath(dir configdir.Dir, n process.Number) string {
	name := strconv.Itoa(n.PID)
	if n.Domain != "" {
		name += "-" + shortHash(n.Domain)
	}
	return filepath.Join(dir.Path("run"), name+".json")
}

// ReadTicket reads the ticket of the claude process that has this id in the pid namespace of
// the calling process. The error is fs.ErrNotExist if that process is not registered.
func ReadTicket(dir configdir.Dir, pid int) (Ticket, error) {
	var t Ticket
	err := readJSON(TicketPath(dir, process.Here(pid)), &t)
	return t, err
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// maxSocketPath is the maximum length of a Unix socket's path that works on every system
// (macOS: 104 bytes including the final zero).
const maxSocketPath = 100

// SocketPaths returns the paths at which the daemon of that directory may listen, best first:
// in the directory and, for file systems without sockets, in a directory of this user in the
// temporary directory or in /tmp. The daemon creates that directory with mode 0700. SocketPaths
// leaves out paths that are too long. [Info] says which path the daemon uses.
func SocketPaths(dir configdir.Dir) []string {
	other := filepath.Join(fmt.Sprintf("claudemesh-%d", os.Getuid()), shortHash(string(dir))+".sock")
	paths := []string{dir.Path("daemon.sock"), filepath.Join(os.TempDir(), other), filepath.Join("/tmp", other)}
	return slices.Compact(slices.DeleteFunc(paths, func(path string) bool { return len(path) > maxSocketPath }))
}
