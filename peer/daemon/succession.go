package daemon

import (
	"errors"
	"slices"

	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/wire"
)

// succeedLateLocked makes a session the successor of one that ended before the process reported the
// clear.
func (d *daemon) succeedLateLocked(s, old *session) error {
	f := s.snapshot()
	succeed(&f, old.snapshot())
	formers, err := d.formersOf(old, f.Meshes, s.id)
	if err != nil {
		return err
	}
	if err := d.store.PutSuccessor(d.writeContext(), &f, formers, old.id); err != nil {
		return err
	}
	s.setFacts(f)
	d.connectLocked(s, old)
	d.inheritLocked(s, old)
	return nil
}

// succeed fills in what a session takes over from the one that it succeeds.
func succeed(f *store.Session, was store.Session) {
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

// formersOf returns, by mesh, the sessions that the successor of old succeeds.
func (d *daemon) formersOf(old *session, meshes []string, successor string) (map[string][]string, error) {
	formers := make(map[string][]string)
	for _, mesh := range old.snapshot().Meshes {
		if !slices.Contains(meshes, mesh) {
			continue
		}
		earlier, err := d.store.Formers(d.writeContext(), mesh, old.id)
		if err != nil {
			return nil, err
		}
		list, err := d.store.Formers(d.writeContext(), mesh, successor)
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

// inheritLocked hands everything of a cleared session to its successor. Whatever the old line still
// receives until it gives way also belongs to the successor. The caller holds changes.
func (d *daemon) inheritLocked(s, old *session) {
	for _, l := range old.liveLines() {
		l.box.Lock()
		l.owner = s
		l.box.Unlock()
	}
	// The successor does not get messages that reached the old context.
	if _, err := d.judgeTakes(old.id, leaving); err != nil {
		d.log.Error("find out whether messages reached the context", "session", old.id, "error", err)
	}
	if err := d.handOver(old.id, s.id); err != nil {
		d.log.Error("hand over the mail of a cleared session; retrying", "session", old.id, "error", err)
		d.unfinished = true
	}
	s.kickMail()
}

// looksLike copies the activity of another session.
func (s *session) looksLike(old *session) {
	old.mu.Lock()
	state := old.state
	old.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Status, s.state.Reason, s.state.since, s.state.sign = state.Status, state.Reason, state.since, state.sign
}

// handOver moves what is on disk for one session to another. It may be repeated until it
// succeeds. After that it must not run again, since the first session may have come back with
// messages of its own.
func (d *daemon) handOver(from, to string) error {
	_, err := d.inbox.Adopt(d.writeContext(), from, to)
	err = errors.Join(err,
		d.store.MoveConfirmations(d.writeContext(), from, to),
		d.store.MoveMessages(d.writeContext(), from, to))
	if err != nil {
		return err
	}
	return d.store.HandedOver(d.writeContext(), from)
}
