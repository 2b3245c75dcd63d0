package daemon

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/wire"
)

// move updates the maps for a process that runs another session. change is what is already on
// disk.
func (d *daemon) move(p *proc, change *store.Registration, s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if change.Untold != nil {
		p.runBeforeLocked(p.session)
	}
	p.Process, p.session, p.since = change.Process, s, time.Now()
	d.procs[p.Number] = p
	d.tokens[sha256.Sum256([]byte(p.Token))] = p
	d.sessions[s.id] = s
	delete(d.sessions, change.Ended)
}

// runBeforeLocked records that the process ran a session whose end it has not reported. The
// caller holds daemon.mu.
func (p *proc) runBeforeLocked(s *session) {
	p.earlier = slices.DeleteFunc(p.earlier, func(other *session) bool { return other.id == s.id })
	p.earlier = append(p.earlier, s)
	p.earlier = p.earlier[max(0, len(p.earlier)-wire.MaxSuccessions):]
}

// departLocked removes a process, and ends its session if no other process runs it. The caller
// holds changes.
func (d *daemon) departLocked(p *proc) error {
	ended := ""
	if len(d.processesOf(p.session)) == 1 {
		ended = p.session.id
	}
	if err := d.store.RemoveProcess(d.writeContext(), p.Number, ended); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.procs, p.Number)
	delete(d.tokens, sha256.Sum256([]byte(p.Token)))
	if ended != "" {
		delete(d.sessions, ended)
	}
	d.mu.Unlock()
	d.removeTicket(p.Number)
	if ended != "" {
		d.endSession(p.session, p.ID)
	}
	return nil
}

// endSession ends a session that no process runs any more; last was the last process. The
// session's lines send its remaining messages. Messages that it fetched but that never reached
// its context become unread again.
func (d *daemon) endSession(s *session, last process.ID) {
	d.log.Info("session ended", "session", s.id)
	s.over()
	s.desk.Close()
	told := make(chan struct{})
	d.group.Go(func() {
		defer close(told)
		s.awaitTakes(last)
	})
	for _, l := range s.liveLines() {
		if l.givesWay() {
			continue
		}
		d.group.Go(func() {
			<-told
			l.drain()
			l.hangUp()
			kick(l.joined.control.outboxKick) // the member's line sends what is left
			kick(l.joined.control.confirmKick)
			l.forgetUnused()
		})
	}
	d.mu.Lock()
	delete(d.touched, s.id)
	if d.newest == s {
		d.newest = nil
	}
	d.mu.Unlock()
	d.kickAllMail()
}

func (d *daemon) session(id string) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[id]
}

func (d *daemon) process(n process.Number) *proc {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.procs[n]
}

func (d *daemon) allProcesses() []*proc {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*proc, 0, len(d.procs))
	for _, p := range d.procs {
		list = append(list, p)
	}
	return list
}

// processesOf returns the processes that run a session.
func (d *daemon) processesOf(s *session) []*proc {
	return slices.DeleteFunc(d.allProcesses(), func(p *proc) bool { return p.session != s })
}

// sessionOf returns the session that a process runs, or nil if the process is not registered.
func (d *daemon) sessionOf(n process.Number) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.procs[n]; p != nil {
		return p.session
	}
	return nil
}
