package daemon

import (
	"cmp"
	"path/filepath"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

func (d *daemon) serveRegister(c *call) error {
	var in local.Register
	if err := c.decode(&in); err != nil {
		return err
	}
	answer, err := d.register(&in)
	if err != nil {
		return err
	}
	s := d.sessionOf(number(in.Domain, in.PID))
	if s != nil {
		s.hello(&in)
	}
	if s != nil && in.Source != local.SourceLaunch {
		if err := s.lookForMail(); err != nil && s.ctx.Err() == nil { // the process may have ended in the meantime
			return err
		}
		s.desk.Begin()
	}
	return c.answer(answer)
}

// hello records what a registration reports about how to reach the session.
func (s *session) hello(in *local.Register) {
	s.mu.Lock()
	if in.Source == local.SourceLaunch {
		s.reach.expected = cut(in.CannotRead, wire.MaxCannotReadLen)
	} else {
		s.reach.hooked(time.Now())
	}
	s.mu.Unlock()
	s.lookAtReach()
	if in.Source != local.SourceLaunch {
		s.tellDesk()
	}
}

// maxPath is the maximum length of a directory's path in bytes.
const maxPath = 4096

// register records that a process runs a session.
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
	d.reloadConfigLocked()
	if err := d.reapLocked(id, who); err != nil {
		return local.Registered{}, err
	}
	p := d.process(who.Number)
	s, warnings, err := d.assignLocked(p, who, id, r)
	if err != nil {
		return local.Registered{}, err
	}
	now := time.Now()
	s.touch(now)
	d.heard(who.Number, now)
	return d.registered(s, who.Number, warnings)
}

// reapLocked removes the process that had the number before, and the session's dead processes.
// Messages that these fetched but never got into their context must not count for the new
// process.
func (d *daemon) reapLocked(id string, who process.ID) error {
	for _, p := range d.allProcesses() {
		if p.Number == who.Number && p.Start != who.Start || p.session.id == id && p.ID != who && d.over(p) {
			if err := d.departLocked(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// assignLocked records on disk and in memory that the process runs the session.
func (d *daemon) assignLocked(p *proc, who process.ID, id string, r *local.Register) (*session, []string, error) {
	s := d.session(id)
	var old *session // the session that the process ran before
	if p != nil && p.session != s {
		old = p.session
	}
	var former *session // the session that s succeeds
	if old != nil && (r.Source == local.SourceClear || p.Cleared) {
		former = old
	}
	now := time.Now()
	f, warnings, err := d.nextFacts(s, former, id, r, now)
	if err != nil {
		return nil, nil, err
	}
	if p != nil && old == nil && !p.Cleared && s.isAs(&f) {
		d.connectLocked(s, nil)
		return s, warnings, nil // already registered
	}
	if p == nil {
		p = &proc{Process: store.Process{ID: who, Token: newToken()}}
	}
	change := store.Registration{Session: &f, Process: store.Process{ID: who, Token: p.Token, SessionID: id}}
	if old != nil && len(d.processesOf(old)) == 1 {
		change.Ended = old.id
		if former == nil {
			was := old.snapshot()
			change.Untold = &was
		} else if change.Formers, err = d.formersOf(old, f.Meshes, id); err != nil {
			return nil, nil, err
		}
	}
	if err := d.store.Register(d.writeContext(), &change, now); err != nil {
		return nil, nil, err
	}
	if s == nil {
		s = d.newSessionLocked(f)
	} else {
		s.setFacts(f)
	}
	d.move(p, &change, s)
	if err := d.writeTicket(change.Process); err != nil {
		err = disk.Unwritable(d.o.Dir, err)
		d.log.Error("write ticket", "error", err)
		warnings = append(warnings, "the session's tools can't reach the daemon yet: "+err.Error())
	}
	d.connectAfterLocked(s, old, &change)
	return s, warnings, nil
}

// connectAfterLocked connects a newly registered session and ends old if no process runs it any more.
// If the session succeeds old, it takes over old's lines and mail.
func (d *daemon) connectAfterLocked(s, old *session, change *store.Registration) {
	if len(change.Formers) == 0 {
		d.connectLocked(s, nil)
	} else {
		d.connectLocked(s, old)
		d.inheritLocked(s, old)
		s.looksLike(old)
	}
	if change.Ended != "" {
		d.endSession(old, change.Process.ID)
	}
}

// nextFacts returns the facts of a session after a registration. They start from those of the
// live session, or else from those of former, the session that it succeeds, if that is not nil.
func (d *daemon) nextFacts(s, former *session, id string, r *local.Register, now time.Time) (store.Session, []string, error) {
	f := store.Session{ID: id, Since: now.Truncate(time.Millisecond)}
	if s != nil {
		f = s.snapshot()
	} else if err := d.store.Recall(d.writeContext(), &f); err != nil {
		return f, nil, err
	}
	if s == nil && former != nil {
		succeed(&f, former.snapshot())
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
		startedBy(&f, parent.snapshot())
	}
	if len(r.Groups) > wire.MaxGroups {
		return f, nil, invalid("a session can be in at most %d groups", wire.MaxGroups)
	}
	for _, g := range r.Groups {
		if !wire.ValidGroup(g.Name) || len(g.Role) > wire.MaxNameLen {
			return f, nil, invalid("%q is not a valid group name, or its role is too long", g.Name)
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

// registered returns the answer to a registration.
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

// startedBy fills in what a session lacks from the session that started it: a name, a summary
// and meshes.
func startedBy(f *store.Session, parent store.Session) {
	name := cmp.Or(parent.Name, parent.ID[:8])
	if f.Name == "" {
		f.Name = cut(name, wire.MaxNameLen-9) + "-" + f.ID[:8]
	}
	if f.Summary == "" {
		f.Summary = "started by " + name
	}
	if len(f.Meshes) == 0 {
		f.Meshes = parent.Meshes
	}
}
