package daemon

import (
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// clearGrace is how long a session that was cleared is kept for its successor,
// which Claude Code begins a moment later.
const clearGrace = 10 * time.Second

// register notes that a process runs a session.
func (d *daemon) register(r *local.Register) (local.Registered, error) {
	id, err := identity.ParseSessionID(r.SessionID)
	if err != nil {
		return local.Registered{}, invalid("sessionId: %v", err)
	}
	who, err := process.Of(r.PID)
	if err != nil {
		return local.Registered{}, invalid("pid: %v", err)
	}
	if r.ProcStart != "" && r.ProcStart != who.Start {
		return local.Registered{}, invalid("pid %d is another process by now", r.PID)
	}
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.ctx.Err() != nil {
		return local.Registered{}, errStopping
	}
	d.reloadConfig()
	if err := d.reap(id, who); err != nil {
		return local.Registered{}, err
	}
	p := d.process(r.PID)
	s, warnings, err := d.assign(p, who, id, r)
	if err != nil {
		return local.Registered{}, err
	}
	s.touch(time.Now())
	return d.registered(s, r, warnings)
}

// reap forgets the process that had the number before, and dead ones of the
// session: what they had fetched and not got into their context must not count for
// the process that comes.
func (d *daemon) reap(id string, who process.ID) error {
	for _, p := range d.allProcesses() {
		if p.PID == who.PID && p.Start != who.Start || p.session.id == id && p.ID != who && !p.Alive() {
			if err := d.depart(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// assign has the process run the session, on disk and in memory.
func (d *daemon) assign(p *proc, who process.ID, id string, r *local.Register) (*session, []string, error) {
	s := d.session(id)
	var old *session // what the process has run before
	if p != nil && p.session != s {
		old = p.session
	}
	now := time.Now()
	f, warnings, err := d.nextFacts(s, old, id, r, now)
	if err != nil {
		return nil, nil, err
	}
	if p != nil && s != nil && old == nil {
		before := s.snapshot()
		before.Active = f.Active // which is written apart
		if reflect.DeepEqual(before, f) {
			d.connect(s, nil)
			return s, warnings, nil // registered already
		}
	}
	if p == nil {
		p = &proc{registered: registered{ID: who, Token: newToken()}}
	}
	entry := registered{ID: who, Token: p.Token, SessionID: id}
	ended, formers := "", map[string][]string{}
	if old != nil && len(d.processesOf(old)) == 1 {
		ended = old.id
		if r.Source == local.SourceClear {
			if formers, err = d.formersOf(old, f.Meshes, id); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := d.store.put(d.write(), &f, entry, formers, ended, now); err != nil {
		return nil, nil, err
	}
	if s == nil {
		s = d.newSession(f)
	} else {
		s.mu.Lock()
		s.facts = f
		s.mu.Unlock()
	}
	d.move(p, entry, s, ended)
	if err := d.writeTicket(entry); err != nil {
		d.log.Error("write ticket", "error", err)
		warnings = append(warnings, err.Error())
	}
	if ended == "" {
		d.connect(s, nil)
		return s, warnings, nil
	}
	if len(formers) > 0 {
		d.connect(s, old)
		d.inherit(s, old)
	} else {
		d.connect(s, nil)
	}
	d.endSession(old, who)
	return s, warnings, nil
}

// nextFacts are the facts of a session after a registration.
func (d *daemon) nextFacts(s, old *session, id string, r *local.Register, now time.Time) (facts, []string, error) {
	f := facts{ID: id, Since: now.Truncate(time.Millisecond)}
	switch {
	case s != nil:
		f = s.snapshot()
	case old != nil && r.Source == local.SourceClear:
		was := old.snapshot()
		f.Cwd, f.Name, f.Role, f.Groups, f.Meshes, f.DND, f.Edits = was.Cwd, was.Name, was.Role, was.Groups, was.Meshes, was.DND, was.Edits
	default:
		if err := d.store.recall(d.write(), &f); err != nil {
			return f, nil, err
		}
	}
	f.Active = now
	f.Trial = f.Trial || r.Trial
	for _, field := range []struct {
		to    *string
		value string
		limit int
	}{
		{&f.Cwd, r.Cwd, wire.MaxTextLen}, {&f.Name, r.Name, wire.MaxNameLen}, {&f.Role, r.Role, wire.MaxNameLen},
		{&f.Title, r.Title, wire.MaxTextLen}, {&f.Model, r.Model, wire.MaxNameLen},
	} {
		if field.value != "" {
			*field.to = cut(field.value, field.limit)
		}
	}
	if len(r.Groups) > wire.MaxGroups {
		return f, nil, invalid("groups: at most %d", wire.MaxGroups)
	}
	for _, g := range r.Groups {
		if !wire.ValidGroup(g.Name) || len(g.Role) > wire.MaxNameLen {
			return f, nil, invalid("%q can't be the name of a group, or its role is too long", g.Name)
		}
	}
	if r.Groups != nil {
		f.Groups = slices.Clone(r.Groups)
	}
	if len(r.Meshes) == 0 && len(f.Meshes) == 0 {
		f.Meshes = d.meshesBefore(id)
	}
	if len(r.Meshes) == 0 && len(f.Meshes) > 0 {
		return f, nil, nil
	}
	ids, warnings, err := d.chooseMeshes(r.Meshes)
	if err != nil {
		return f, nil, notFound("%v", err)
	}
	slices.Sort(ids)
	f.Meshes = slices.Compact(ids)
	return f, warnings, nil
}

// formersOf lists, by mesh, the sessions that the successor of old goes on for.
func (d *daemon) formersOf(old *session, meshes []string, successor string) (map[string][]string, error) {
	formers := make(map[string][]string)
	for _, mesh := range old.snapshot().Meshes {
		if !slices.Contains(meshes, mesh) {
			continue
		}
		earlier, err := d.store.formers(d.write(), mesh, old.id)
		if err != nil {
			return nil, err
		}
		list := append([]string{old.id}, earlier...)
		list = slices.DeleteFunc(list, func(id string) bool { return id == successor })
		formers[mesh] = list[:min(len(list), wire.MaxSuccessions)]
	}
	return formers, nil
}

// move changes which session a process runs in the maps.
func (d *daemon) move(p *proc, entry registered, s *session, ended string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p.registered, p.session, p.clearing = entry, s, time.Time{}
	d.procs[entry.PID] = p
	d.tokens[sha256.Sum256([]byte(entry.Token))] = p
	d.sessions[s.id] = s
	if ended != "" {
		delete(d.sessions, ended)
	}
}

// inherit hands everything of a cleared session to its successor. What its line
// still receives, until it gives way, is the successor's too.
func (d *daemon) inherit(s, old *session) {
	for _, l := range old.liveLines() {
		l.box.Lock()
		l.owner = s
		l.box.Unlock()
	}
	// What the old context has got is not for the new one.
	if _, err := d.judgeTakes(old.id, leaving); err != nil {
		d.log.Error("find out what became of messages", "session", old.id, "error", err)
	}
	if err := d.handOver(old.id, s.id); err != nil {
		d.log.Error("hand over the mail of a cleared session", "session", old.id, "error", err)
	}
	old.mu.Lock()
	state := old.state
	old.mu.Unlock()
	s.mu.Lock()
	s.state.Status, s.state.Reason, s.state.since, s.state.sign = state.Status, state.Reason, state.since, state.sign
	s.mu.Unlock()
	s.kickMail()
}

// handOver moves what is on disk of a session to another one. It may be repeated until
// it has succeeded; afterwards, what there is may be of a session that came back.
func (d *daemon) handOver(from, to string) error {
	_, err := d.inbox.Adopt(d.write(), from, to)
	err = errors.Join(err,
		d.store.moveConfirmations(d.write(), from, to),
		d.store.moveLetters(d.write(), from, to))
	if err != nil {
		return err
	}
	return d.store.handedOver(d.write(), from)
}

// registered answers a registration.
func (d *daemon) registered(s *session, r *local.Register, warnings []string) (local.Registered, error) {
	d.mu.Lock()
	token := ""
	if p := d.procs[r.PID]; p != nil {
		token = p.Token
	}
	d.mu.Unlock()
	s.mu.Lock()
	warnings = append(warnings, s.warnings...)
	s.mu.Unlock()
	answer := local.Registered{Token: token, Meshes: []string{}, Warnings: warnings}
	for _, id := range s.snapshot().Meshes {
		answer.Meshes = append(answer.Meshes, d.slug(id))
	}
	slices.Sort(answer.Meshes)
	return answer, nil
}

// left notes that a process has left its session, because it said so.
func (d *daemon) left(e *local.End) error {
	id, err := identity.ParseSessionID(e.SessionID)
	if err != nil {
		return invalid("sessionId: %v", err)
	}
	d.changes.Lock()
	defer d.changes.Unlock()
	p := d.process(e.PID)
	if p == nil || p.session.id != id {
		return nil // it has left before
	}
	if e.Reason == string(local.SourceClear) && p.Alive() {
		d.mu.Lock()
		p.clearing = time.Now()
		d.mu.Unlock()
		return nil
	}
	return d.depart(p)
}

// depart forgets a process, and ends its session if it was the last one of it. The
// caller holds changes.
func (d *daemon) depart(p *proc) error {
	ended := ""
	if len(d.processesOf(p.session)) == 1 {
		ended = p.session.id
	}
	if err := d.store.removeProcess(d.write(), p.PID, ended); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.procs, p.PID)
	delete(d.tokens, sha256.Sum256([]byte(p.Token)))
	if ended != "" {
		delete(d.sessions, ended)
	}
	d.mu.Unlock()
	d.removeTicket(p.PID)
	if ended != "" {
		d.endSession(p.session, p.ID)
	}
	return nil
}

// endSession ends a session that no process runs any more; last was the last. Its lines
// send what it has left; what it has fetched and not got into its context is unread
// again.
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
			kick(l.joined.control.outboxKick) // the member sends what is left
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

func (d *daemon) process(pid int) *proc {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.procs[pid]
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
