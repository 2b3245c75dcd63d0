package daemon

import (
	"crypto/sha256"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// maxPath is how long the path of a directory may be, in bytes.
const maxPath = 4096

// register notes that a process runs a session.
func (d *daemon) register(r *local.Register) (local.Registered, error) {
	id, err := identity.ParseSessionID(r.SessionID)
	if err != nil {
		return local.Registered{}, invalid("sessionId: %v", err)
	}
	who, err := identify(number(r.Domain, r.PID), r.ProcStart)
	if err != nil {
		return local.Registered{}, err
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
	p := d.process(who.Number)
	s, warnings, err := d.assign(p, who, id, r)
	if err != nil {
		return local.Registered{}, err
	}
	now := time.Now()
	s.touch(now)
	d.heard(who.Number, now)
	return d.registered(s, who.Number, warnings)
}

// reap forgets the process that had the number before, and dead ones of the
// session: what they had fetched and not got into their context must not count for
// the process that comes.
func (d *daemon) reap(id string, who process.ID) error {
	for _, p := range d.allProcesses() {
		if p.Number == who.Number && p.Start != who.Start || p.session.id == id && p.ID != who && d.over(p) {
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
	var former *session // which this one goes on for
	if old != nil && (r.Source == local.SourceClear || p.cleared) {
		former = old
	}
	f, warnings, err := d.nextFacts(s, former, id, r, now)
	if err != nil {
		return nil, nil, err
	}
	if p != nil && s != nil && old == nil && !p.cleared {
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
	var before *facts // of old, if nobody has said how it ended
	if old != nil && len(d.processesOf(old)) == 1 {
		ended = old.id
		if former == nil {
			was := old.snapshot()
			before = &was
		} else if formers, err = d.formersOf(old, f.Meshes, id); err != nil {
			return nil, nil, err
		}
	}
	if err := d.store.put(d.write(), &f, entry, formers, ended, before, now); err != nil {
		return nil, nil, err
	}
	if s == nil {
		s = d.newSession(f)
	} else {
		s.mu.Lock()
		s.facts = f
		s.mu.Unlock()
	}
	d.move(p, entry, s, ended, before != nil)
	if err := d.writeTicket(entry); err != nil {
		err = disk.Unwritable(d.o.Dir, err)
		d.log.Error("write ticket", "error", err)
		warnings = append(warnings, "the session's tools can't reach the daemon yet: "+err.Error())
	}
	if ended == "" {
		d.connect(s, nil)
		return s, warnings, nil
	}
	if len(formers) > 0 {
		d.connect(s, old)
		d.inherit(s, old)
		s.looksLike(old)
	} else {
		d.connect(s, nil)
	}
	d.endSession(old, who)
	return s, warnings, nil
}

// nextFacts are the facts of a session after a registration: of the live one, if there
// is one, or of one that goes on for former, if that is not nil.
func (d *daemon) nextFacts(s, former *session, id string, r *local.Register, now time.Time) (facts, []string, error) {
	f := facts{ID: id, Since: now.Truncate(time.Millisecond)}
	if s != nil {
		f = s.snapshot()
	} else if err := d.store.recall(d.write(), &f); err != nil {
		return f, nil, err
	}
	if s == nil && former != nil {
		f.succeed(former.snapshot())
	}
	f.Active = now
	f.Trial = f.Trial || r.Trial
	if filepath.IsAbs(r.ConfigDir) && len(r.ConfigDir) <= maxPath {
		f.ConfigDir = r.ConfigDir
	}
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
	if parent := d.sessionOf(number(r.Domain, r.Parent)); s == nil && parent != nil && parent.id != id {
		f.within(parent.snapshot())
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

// move changes which session a process runs in the maps. ended is the one that it has
// run, if it is over; untold says that nobody has said how it ended.
func (d *daemon) move(p *proc, entry registered, s *session, ended string, untold bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if untold {
		p.runBefore(p.session)
	}
	p.registered, p.session, p.since = entry, s, time.Now()
	d.procs[entry.Number] = p
	d.tokens[sha256.Sum256([]byte(entry.Token))] = p
	d.sessions[s.id] = s
	if ended != "" {
		delete(d.sessions, ended)
	}
}

// runBefore notes that the process ran a session of which it has not said how it ended.
// The caller holds daemon.mu.
func (p *proc) runBefore(s *session) {
	p.earlier = slices.DeleteFunc(p.earlier, func(other *session) bool { return other.id == s.id })
	p.earlier = append(p.earlier, s)
	p.earlier = p.earlier[max(0, len(p.earlier)-wire.MaxSuccessions):]
}

// registered answers a registration.
func (d *daemon) registered(s *session, n process.Number, warnings []string) (local.Registered, error) {
	d.mu.Lock()
	token := ""
	if p := d.procs[n]; p != nil {
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

// depart forgets a process, and ends its session if it was the last one of it. The
// caller holds changes.
func (d *daemon) depart(p *proc) error {
	ended := ""
	if len(d.processesOf(p.session)) == 1 {
		ended = p.session.id
	}
	if err := d.store.removeProcess(d.write(), p.Number, ended); err != nil {
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
