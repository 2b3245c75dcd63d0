package daemon

import (
	"os"
	"reflect"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// connectLocked starts a line for the session in each of its joined meshes and ends its other
// lines. It replaces a line that describes the session wrongly. former may be nil. Otherwise it
// is the session that this one succeeds, and its lines give way to the new ones. The caller
// holds changes.
func (d *daemon) connectLocked(s, former *session) {
	f := s.snapshot()
	wanted := make(map[string]bool, len(f.Meshes))
	for _, id := range f.Meshes {
		j := d.joinedMesh(id)
		if j == nil {
			continue
		}
		wanted[id] = true
		about := d.about(&f)
		s.mu.Lock()
		old := s.lines[id]
		s.mu.Unlock()
		if old != nil && old.joined == j && former == nil && reflect.DeepEqual(old.about, about) {
			continue
		}
		l := d.newLine(j.mesh, j, s)
		l.about = about
		if !d.giveKeys(l) {
			l.hangUp() // it never runs
			continue
		}
		s.mu.Lock()
		s.lines[id] = l
		s.mu.Unlock()
		d.startLineLocked(l, former.line(id))
	}
	s.mu.Lock()
	var unwanted []*line
	for id, l := range s.lines {
		if !wanted[id] {
			unwanted = append(unwanted, l)
			delete(s.lines, id)
		}
	}
	s.mu.Unlock()
	for _, l := range unwanted {
		l.hangUp()
	}
}

// line returns the session's line in a mesh. It returns nil if there is none, or if s is nil.
func (s *session) line(mesh string) *line {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[mesh]
}

// about returns what the session's peers learn about it.
func (d *daemon) about(f *store.Session) peer.About {
	cwd := f.Cwd
	if cwd == "" {
		cwd = "/"
	}
	return peer.About{
		SessionID: f.ID, PID: int64(os.Getpid()), Cwd: cut(cwd, wire.MaxTextLen), DisplayName: f.Name, Hostname: cut(d.hostname, wire.MaxNameLen),
		PeerType: "ai", Channel: sessionChannel, Role: f.Role, Groups: f.Groups,
	}
}

// giveKeys gives a line the key of its session and the keys of the sessions that it succeeds.
// It reports whether the session has a key.
func (d *daemon) giveKeys(l *line) bool {
	key, err := d.keys.Key(l.mesh.Slug, l.s.id)
	if err != nil {
		l.s.warn("no session key: " + err.Error())
		l.log.Error("load session key", "error", err)
		return false
	}
	for _, w := range key.Warnings {
		l.s.warn(w)
		l.log.Warn("session key", "warning", w)
	}
	if key.Unsaved != nil {
		l.s.warn("the session key is only in memory; mail sealed for it will be lost when the daemon stops: " + key.Unsaved.Error())
		l.log.Error("save session key", "error", key.Unsaved)
	} else if err := d.keys.Touch(l.mesh.Slug, l.s.id, time.Now()); err != nil {
		l.log.Warn("touch session key", "error", err)
	}
	l.key, l.fresh = key.Pair, key.Fresh
	l.former = d.formerKeys(l)
	return true
}

// formerKeys returns the keys of the sessions that the line's session succeeds, newest first.
// It leaves out keys that no longer exist.
func (d *daemon) formerKeys(l *line) []peer.FormerSession {
	ids, err := d.store.Formers(d.writeContext(), l.name.mesh, l.s.id)
	if err != nil {
		l.log.Error("read successions", "error", err)
	}
	var list []peer.FormerSession
	for _, id := range ids {
		key, err := d.keys.Key(l.mesh.Slug, id)
		switch {
		case err != nil:
			l.log.Error("load the key of a former session", "error", err)
		case key.Fresh:
			forget(d.keys, l.mesh.Slug, id)
		default:
			list = append(list, peer.FormerSession{Pair: key.Pair})
		}
	}
	return list
}

// forget removes a key that a lookup has just created.
func forget(keys identity.SessionStore, slug, id string) { _ = keys.Remove(slug, id) }

// forgetUnused removes the key of a session that never began, for example because its program
// rejected its command line. The key stays if a peer has written to the session, which is
// unlikely.
func (l *line) forgetUnused() {
	s := l.s
	l.d.changes.Lock() // so that the session does not return in the meantime
	defer l.d.changes.Unlock()
	s.mu.Lock()
	began, dir := !s.reach.hooks.IsZero() || !s.reach.running.IsZero() || s.reach.earlier, s.facts.ConfigDir
	s.mu.Unlock()
	if began || !l.fresh || l.d.session(s.id) != nil || l.d.o.Host == nil || l.d.o.Host.Conversation(Call{SessionID: s.id, ConfigDir: dir}).Kept {
		return
	}
	unread, err := l.d.inbox.CountUnread(l.d.writeContext(), inbox.Filter{Meshes: []string{l.name.mesh}, Session: s.id})
	if err != nil || unread > 0 || l.pending() {
		return
	}
	l.log.Info("removed the key of a session that never began")
	forget(l.d.keys, l.mesh.Slug, s.id)
	if err := l.d.store.ForgetKnown(l.d.writeContext(), s.id); err != nil {
		l.log.Warn("forget session", "error", err)
	}
}

// cut shortens a text to so many bytes.
func cut(s string, limit int) string { return visible.Cut(s, limit, visible.Bytes) }
