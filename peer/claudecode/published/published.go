// Package published reads the status that each running Claude Code publishes in
// sessions/<pid>.json in its directory. Only this file shows that the user has interrupted a
// session with Esc, because no hook runs then.
//
// The format is undocumented; this package reads what version 2.1.330 writes. It treats a
// file that it can't read as missing. A file may outlive its process, so callers must
// compare [daemon.Published.ProcStart].
//
// This package is for claudemesh itself; outsiders should not rely on it.
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

// Reader reads Claude Code's published status and its transcripts. It implements daemon.Host
// and is safe for concurrent use.
type Reader struct {
	ConfigDir string // the default, for sessions that did not report their own
}

// dir returns the config directory of a session. A session in a container may report a path
// that exists only in the container.
func (r Reader) dir(own string) string {
	if _, err := os.Stat(own); err != nil {
		return r.ConfigDir
	}
	return own
}

var _ daemon.Host = Reader{}

// maxFile limits how many bytes of a file are read. A real file has about 700.
const maxFile = 64 << 10

// status holds the relevant fields of a file.
type status struct {
	PID       int    `json:"pid"`
	SessionID string `json:"sessionId"`
	ProcStart string `json:"procStart"`
	PIDDomain string `json:"pidDomain"` // "linux:<machine>:pid:[4026531836]"
	Status    string `json:"status"`
}

// Published returns the status of the claude with that process id. It reports false if it
// can't read the file.
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

// Conversation looks in the session's transcript for the answer to a tool call.
func (r Reader) Conversation(c daemon.Call) (a daemon.Answered) {
	path := c.Transcript
	if _, err := os.Stat(path); err != nil {
		path, _ = transcript.Find(r.dir(c.ConfigDir), c.SessionID) // "" if there is none
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
		p.ProcStart = s.ProcStart // on other systems, package process uses another format
		if _, id, ok := strings.Cut(s.PIDDomain, ":pid:"); ok {
			p.Namespace = "pid:" + id
		}
	}
	switch s.Status {
	case "busy":
		p.Status = wire.Working
	case "waiting":
		p.Status, p.Reason = wire.Working, "waiting"
	case "idle", "shell": // shell: idle, but a background command, such as a monitor, still runs
		p.Status = wire.Idle
	}
	return p, true
}
