// Package published reads what each running Claude Code says of itself in
// sessions/<pid>.json of its directory. It is the only source that knows of an
// interruption with Esc, which fires no hook.
//
// The format is Claude Code's own and undocumented; this is what version 2.1.330
// writes. What can't be read counts as nothing said. A file may outlive its process:
// callers compare [daemon.Published.ProcStart].
package published

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/claudemesh/claudemesh/peer/claudecode/frame"
	"github.com/claudemesh/claudemesh/peer/claudecode/transcript"
	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/wire"
)

// Reader reads what Claude Code publishes and keeps. It implements daemon.Host and is
// safe for concurrent use.
type Reader struct {
	ConfigDir string // that of sessions whose own is not known
}

// dir returns the config directory of a session. A session in a container that shares
// the home may name a path that is only there.
func (r Reader) dir(own string) string {
	if _, err := os.Stat(own); err != nil {
		return r.ConfigDir
	}
	return own
}

var _ daemon.Host = Reader{}

// maxFile bounds what is read of a file, in bytes; a real one has some 700.
const maxFile = 64 << 10

// status is what matters of a file.
type status struct {
	PID       int    `json:"pid"`
	SessionID string `json:"sessionId"`
	ProcStart string `json:"procStart"`
	PIDDomain string `json:"pidDomain"` // "linux:<machine>:pid:[4026531836]"
	Status    string `json:"status"`
}

// Published returns what the claude with that process id says of itself; false when
// it says nothing that is understood.
func (r Reader) Published(configDir string, pid int) (daemon.Published, bool) {
	f, err := os.Open(filepath.Join(r.dir(configDir), "sessions", strconv.Itoa(pid)+".json"))
	if err != nil {
		return daemon.Published{}, false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return daemon.Published{}, false
	}
	return parse(b, pid)
}

// Conversation looks for the answer to a call in the transcript of its session.
func (r Reader) Conversation(c daemon.Call) (a daemon.Answered) {
	path := c.Transcript
	if _, err := os.Stat(path); err != nil {
		path, _ = transcript.Find(r.dir(c.ConfigDir), c.SessionID) // "": there is none
	}
	text, known, err := transcript.Answer(path, c.ToolUse)
	a.Kept, a.Known = !errors.Is(err, fs.ErrNotExist), known
	for _, id := range c.Messages {
		if frame.Shows(text, id) {
			a.Shown = append(a.Shown, id)
		}
	}
	return a
}

func parse(b []byte, pid int) (daemon.Published, bool) {
	var s status
	if err := json.Unmarshal(b, &s); err != nil || s.PID != pid || s.SessionID == "" {
		return daemon.Published{}, false
	}
	p := daemon.Published{SessionID: s.SessionID}
	if runtime.GOOS == "linux" {
		p.ProcStart = s.ProcStart // elsewhere, not in the form of package process
		if _, id, ok := strings.Cut(s.PIDDomain, ":pid:"); ok {
			p.Namespace = "pid:" + id
		}
	}
	switch s.Status {
	case "busy":
		p.Status = wire.Working
	case "waiting":
		p.Status, p.Reason = wire.Working, "waiting"
	case "idle", "shell": // the latter: a command in the background, such as a monitor, still runs
		p.Status = wire.Idle
	}
	return p, true
}
