package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/peer/configdir"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
)

// ErrNotRunning is returned when no daemon answers.
var ErrNotRunning = errors.New("the claudemesh daemon is not running")

// Build says which program a process runs. A daemon of an older build is
// replaced by whoever finds it.
type Build struct {
	Version string    `json:"version"`
	Built   time.Time `json:"built"` // when the executable was written
}

// Newer reports whether b is another, younger build than other.
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

// Info is how to reach the running daemon and to prove to be its owner. The
// daemon writes it, with mode 0600, when its socket is open.
type Info struct {
	PID    int    `json:"pid"`
	Build  Build  `json:"build"`
	Socket string `json:"socket"`
	Token  string `json:"token"`
}

// InfoName is the name of Info's file in the config directory.
const InfoName = "daemon.json"

// ReadInfo reads what the daemon of that directory has written; ErrNotRunning
// when there is nothing. The daemon may have died since.
func ReadInfo(dir configdir.Dir) (Info, error) {
	var info Info
	err := readJSON(dir.Path(InfoName), &info)
	if errors.Is(err, fs.ErrNotExist) {
		return info, ErrNotRunning
	}
	return info, err
}

// Ticket is what the processes below one claude process use to speak for its
// session. The daemon writes it, with mode 0600, at Register, and removes it when
// that process has ended.
type Ticket struct {
	PID       int    `json:"pid"`                 // of claude
	Domain    string `json:"pidDomain,omitempty"` // see Register
	ProcStart string `json:"procStart"`           // see Register
	SessionID string `json:"sessionId"`
	Token     string `json:"token"`
}

// TicketPath returns where the ticket of a claude process is. Containers that share
// the directory have processes of the same number.
func TicketPath(dir configdir.Dir, n process.Number) string {
	name := strconv.Itoa(n.PID)
	if n.Domain != "" {
		name += "-" + shortHash(n.Domain)
	}
	return filepath.Join(dir.Path("run"), name+".json")
}

// ReadTicket reads the ticket of a claude process, whose number is that which it has
// in this process's namespace. The error is fs.ErrNotExist when that process is not
// registered.
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

// maxSocketPath is the longest path of a Unix socket on every system (macOS: 104
// bytes with the final zero).
const maxSocketPath = 100

// SocketPaths returns where the daemon of that directory may listen, the best place
// first: in the directory, unless that path is too long for a socket; else, and where
// the directory's file system has no sockets, in a directory of this user's under the
// system's temporary directory, which the daemon makes with mode 0700. [Info] says
// which one it is.
func SocketPaths(dir configdir.Dir) []string {
	other := filepath.Join(os.TempDir(), fmt.Sprintf("claudemesh-%d", os.Getuid()), shortHash(string(dir))+".sock")
	if path := dir.Path("daemon.sock"); len(path) <= maxSocketPath {
		return []string{path, other}
	}
	return []string{other}
}
