package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// published is the status file of a process.
type published struct {
	PID             int    `json:"pid"`
	SessionID       string `json:"sessionId"`
	Cwd             string `json:"cwd"`
	StartedAt       int64  `json:"startedAt"`
	ProcStart       string `json:"procStart"`
	PIDDomain       string `json:"pidDomain"`
	Version         string `json:"version"`
	PeerProtocol    int    `json:"peerProtocol"`
	Kind            string `json:"kind"`
	Entrypoint      string `json:"entrypoint"`
	Name            string `json:"name"`
	NameSource      string `json:"nameSource"`
	Status          string `json:"status"`
	WaitingFor      string `json:"waitingFor,omitempty"`
	UpdatedAt       int64  `json:"updatedAt"`
	StatusUpdatedAt int64  `json:"statusUpdatedAt"`
}

// publisher keeps the status file up to date.
type publisher struct {
	mu   sync.Mutex
	file string
	now  published
}

func newPublisher(o options, s *session) *publisher {
	pid := os.Getpid()
	p := &publisher{file: filepath.Join(configDir(), "sessions", strconv.Itoa(pid)+".json")}
	p.now = published{
		PID: pid, SessionID: s.id, Cwd: s.cwd, StartedAt: time.Now().UnixMilli(), ProcStart: procStart(), PIDDomain: pidDomain(), Version: version,
		PeerProtocol: 1, Kind: "interactive", Entrypoint: s.entrypoint, Name: o.name, NameSource: "user",
	}
	if o.name == "" {
		p.now.Name, p.now.NameSource = filepath.Base(s.cwd)+"-"+s.id[:2], "derived"
	}
	return p
}

// set publishes the session and its status.
func (p *publisher) set(session, status, waitingFor string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UnixMilli()
	if now <= p.now.StatusUpdatedAt {
		now = p.now.StatusUpdatedAt + 1 // so that each change is distinguishable
	}
	p.now.SessionID, p.now.Status, p.now.WaitingFor = session, status, waitingFor
	p.now.UpdatedAt, p.now.StatusUpdatedAt = now, now
	b, err := json.Marshal(p.now)
	if err != nil || os.MkdirAll(filepath.Dir(p.file), 0o700) != nil || os.WriteFile(p.file+".new", b, 0o644) != nil {
		return
	}
	_ = os.Rename(p.file+".new", p.file)
}

func (p *publisher) current() published {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *publisher) remove() { _ = os.Remove(p.file) }

// pidDomain identifies the machine and the pid namespace.
func pidDomain() string {
	machine, _ := os.ReadFile("/etc/machine-id")
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return "linux:" + strings.TrimSpace(string(machine)) + ":" + namespace
}

// procStart returns field 22 of /proc/self/stat, the start time.
func procStart() string {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	if fields := strings.Fields(rest); len(fields) > 19 {
		return fields[19]
	}
	return ""
}
