package daemon

import (
	"cmp"
	"os"
	"slices"

	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
)

func (d *daemon) serveStatus(c *call) error {
	waiting, err := d.store.Waiting(c.ctx, "", "")
	if err != nil {
		return err
	}
	status := local.Status{
		PID: os.Getpid(), Build: d.o.Build, Started: d.started,
		Meshes: []local.MeshStatus{}, Sessions: []local.SessionStatus{}, Outbox: waiting,
	}
	for id, j := range d.joinedMeshes() {
		unread, err := d.inbox.CountUnread(c.ctx, inbox.Filter{Meshes: []string{id}, MemberMail: true})
		if err != nil {
			return err
		}
		m := local.MeshStatus{Slug: j.mesh.Slug, MeshID: id, Broker: j.mesh.BrokerURL, Unread: unread}
		m.Connected, _, m.Error = j.control.standing()
		status.Meshes = append(status.Meshes, m)
	}
	slices.SortFunc(status.Meshes, func(a, b local.MeshStatus) int { return cmp.Compare(a.Slug, b.Slug) })
	for _, s := range d.all() {
		one, err := s.describe(c)
		if err != nil {
			return err
		}
		status.Sessions = append(status.Sessions, one)
	}
	return c.answer(status)
}

// describe returns the session as `claudemesh daemon status` shows it.
func (s *session) describe(c *call) (local.SessionStatus, error) {
	f := s.snapshot()
	unread, err := s.d.inbox.CountUnread(c.ctx, inbox.Filter{Meshes: f.Meshes, Session: s.id})
	if err != nil {
		return local.SessionStatus{}, err
	}
	out := local.SessionStatus{
		SessionID: s.id, Name: f.Name, Title: f.Title, Cwd: f.Cwd, PIDs: []int{}, Unread: unread,
		Wake: string(s.desk.Path()), Meshes: []local.SessionInMesh{}, Since: f.Since,
	}
	out.Status, out.Reason = s.doing()
	out.CannotRead = s.reads()
	s.d.mu.Lock()
	for n, p := range s.d.procs {
		if p.session == s {
			out.PIDs = append(out.PIDs, n.PID)
		}
	}
	s.d.mu.Unlock()
	slices.Sort(out.PIDs)
	s.mu.Lock()
	out.Warnings = slices.Clone(s.warnings)
	s.mu.Unlock()
	for _, l := range s.liveLines() {
		in := local.SessionInMesh{Slug: l.mesh.Slug, Key: l.key.Public()}
		in.Connected, in.Replaced, in.Error = l.standing()
		out.Meshes = append(out.Meshes, in)
	}
	return out, nil
}

// serveUnread serves the status line. It asks no broker.
func (d *daemon) serveUnread(c *call) error {
	n, err := d.inbox.CountUnread(c.ctx, c.s.filter())
	if err != nil {
		return err
	}
	answer := local.Unread{Unread: n, Meshes: []string{}, Connected: true}
	answer.Status, _ = c.s.doing()
	lines := c.s.liveLines()
	for _, l := range lines {
		answer.Meshes = append(answer.Meshes, l.mesh.Slug)
		answer.Peers += l.joined.roster.online(l.key.Public(), l.mesh.Member.Public())
		answer.Connected = answer.Connected && l.isConnected()
	}
	answer.Connected = answer.Connected && len(lines) > 0
	return c.answer(answer)
}
