package daemon

import (
	"cmp"
	"errors"
	"slices"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// A clear ends one session of a process and begins its successor. Claude Code tells of
// it with two hooks, which run beside those of others and arrive in any order, minutes
// apart; and an IDE calls the second one a startup. What counts is therefore that the
// process says of a session that a clear has ended it, and runs another one.

// left notes that a process has left its session, because it said so.
func (d *daemon) left(e *local.End) error {
	id, err := identity.ParseSessionID(e.SessionID)
	if err != nil {
		return invalid("sessionId: %v", err)
	}
	d.changes.Lock()
	defer d.changes.Unlock()
	p := d.process(number(e.Domain, e.PID))
	clears := e.Reason == string(local.SourceClear)
	switch {
	case p == nil:
		return nil // it has left before
	case p.session.id != id:
		return d.leftEarlier(p, id, clears)
	case !clears || d.over(p):
		return d.depart(p)
	}
	entry := p.registered
	entry.cleared = true
	if err := d.store.putProcess(d.write(), entry); err != nil {
		return err
	}
	d.mu.Lock()
	p.registered = entry
	d.mu.Unlock()
	return nil
}

// leftEarlier notes how a session has ended that the process ran before.
func (d *daemon) leftEarlier(p *proc, id string, clears bool) error {
	d.mu.Lock()
	i := slices.IndexFunc(p.earlier, func(s *session) bool { return s.id == id })
	if i < 0 {
		d.mu.Unlock()
		return nil
	}
	old := p.earlier[i]
	p.earlier = slices.Delete(p.earlier, i, i+1)
	d.mu.Unlock()
	if clears && d.session(id) == nil {
		if err := d.succeedLate(p.session, old); err != nil {
			return err
		}
	}
	return d.store.forgetEarlier(d.write(), p.Number, id)
}

// succeedLate makes a session the successor of one that has ended before it was said to
// be cleared.
func (d *daemon) succeedLate(s, old *session) error {
	f := s.snapshot()
	f.succeed(old.snapshot())
	formers, err := d.formersOf(old, f.Meshes, s.id)
	if err != nil {
		return err
	}
	if err := d.store.putSuccessor(d.write(), &f, formers, old.id); err != nil {
		return err
	}
	s.mu.Lock()
	s.facts = f
	s.mu.Unlock()
	d.connect(s, old)
	d.inherit(s, old)
	return nil
}

// succeed fills in what a session has of the one that it goes on for.
func (f *facts) succeed(was facts) {
	if f.Cwd == "" {
		f.Cwd = was.Cwd
	}
	if f.ConfigDir == "" {
		f.ConfigDir = was.ConfigDir
	}
	if f.Name == "" {
		f.Name = was.Name
	}
	if f.Role == "" {
		f.Role = was.Role
	}
	if f.Groups == nil {
		f.Groups = was.Groups
	}
	for _, mesh := range was.Meshes {
		if !slices.Contains(f.Meshes, mesh) {
			f.Meshes = append(f.Meshes, mesh)
		}
	}
	slices.Sort(f.Meshes)
	f.DND = f.DND || was.DND
	if f.Edits.Joined == nil && f.Edits.Left == nil {
		f.Edits = was.Edits
	}
}

// within names a session, unless it has a name, after the one within which it was started.
func (f *facts) within(parent facts) {
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
		list, err := d.store.formers(d.write(), mesh, successor)
		if err != nil {
			return nil, err
		}
		for _, id := range append([]string{old.id}, earlier...) {
			if id != successor && !slices.Contains(list, id) {
				list = append(list, id)
			}
		}
		formers[mesh] = list[:min(len(list), wire.MaxSuccessions)]
	}
	return formers, nil
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
	s.kickMail()
}

// looksLike takes over what another session was doing.
func (s *session) looksLike(old *session) {
	old.mu.Lock()
	state := old.state
	old.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Status, s.state.Reason, s.state.since, s.state.sign = state.Status, state.Reason, state.since, state.sign
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
