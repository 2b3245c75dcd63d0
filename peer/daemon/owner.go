package daemon

import (
	"cmp"
	"os"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/daemon/attention"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/inbox"
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
		if err := s.lookForMail(); err != nil && s.ctx.Err() == nil { // its process may have ended meanwhile
			return err
		}
		s.desk.Begin()
	}
	return c.answer(answer)
}

// hello notes what a registration tells of how the session can be reached.
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

// sessionOf returns the session that a process runs; nil when it is not registered.
func (d *daemon) sessionOf(n process.Number) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.procs[n]; p != nil {
		return p.session
	}
	return nil
}

// serveActivity is called by hooks that must not wait: what goes to disk does so
// after the answer.
func (d *daemon) serveActivity(c *call) error {
	var in local.Activity
	if err := c.decode(&in); err != nil {
		return err
	}
	id, err := identity.ParseSessionID(in.SessionID)
	if err != nil {
		return invalid("sessionId: %v", err)
	}
	if in.Status != "" && in.Status != wire.Idle && in.Status != wire.Working {
		return invalid("status must be idle or working")
	}
	n := number(in.Domain, in.PID)
	s := d.sessionOf(n)
	if s == nil {
		return notFound("process %s is not registered", n)
	}
	if s.id != id {
		return refused("process %s runs another session by now", n)
	}
	now := time.Now()
	d.heard(n, now)
	s.touch(now)
	s.hooked(&in, now)
	if in.NewTurn {
		s.settleBeforeTurn()
	}
	s.lookAtReach()
	if in.NewTurn && in.Human {
		s.desk.Retell()
	}
	var offer *attention.Offer
	switch {
	case in.WantPointer && in.Human:
		offer = s.desk.Hook(attention.HumanPrompt)
	case in.WantPointer:
		offer = s.desk.Hook(attention.Turn)
	case in.Human:
		s.desk.HumanPrompt()
	}
	if in.TurnOver {
		s.desk.TurnOver()
	}
	answer := local.Pointer{}
	if offer != nil {
		answer.Pointer, answer.Number = offer.Text, s.pointers.add(offer)
	}
	if err = c.answer(answer); err != nil {
		s.pointers.settle(answer.Number, err)
	}
	d.group.Go(func() { s.afterActivity(&in) }) // this call is counted in: the group is not empty
	return err
}

// servePrinted is called by hooks, too.
func (d *daemon) servePrinted(c *call) error {
	var in local.Printed
	if err := c.decode(&in); err != nil {
		return err
	}
	n := number(in.Domain, in.PID)
	s := d.sessionOf(n)
	if s == nil {
		return notFound("process %s is not registered", n)
	}
	err := c.answer(nil)
	s.pointers.settle(in.Number, nil) // what goes to disk does so after the answer
	return err
}

// hooked takes a hook's word for what the session is doing.
func (s *session) hooked(in *local.Activity, now time.Time) {
	s.d.takes.note(s.id, in.Transcript, in.Ended, now)
	s.mu.Lock()
	if in.Transcript != "" {
		s.transcript = in.Transcript
	}
	s.reach.hooked(now)
	changed := false
	if in.Status != "" {
		changed = s.state.hooked(in.Status, cut(in.Reason, wire.MaxReasonLen), now)
	} else {
		s.state.sign = now
	}
	s.mu.Unlock()
	if changed {
		s.tellStatus()
	}
}

// settleBeforeTurn makes what an interrupted turn has fetched in vain unread, so that the
// prompt that follows it can tell of it.
func (s *session) settleBeforeTurn() {
	if len(s.d.takes.of(s.id)) == 0 {
		return
	}
	if _, err := s.d.judgeTakes(s.id, newTurn); err != nil {
		s.d.log.Error("find out what became of messages", "session", s.id, "error", err)
	}
}

// afterActivity does what the hook need not wait for.
func (s *session) afterActivity(in *local.Activity) {
	if len(in.Ended) > 0 {
		s.followTakes()
	}
	title := cut(in.Title, wire.MaxTextLen)
	if title == "" || title == s.snapshot().Title {
		return
	}
	if err := s.update(func(f *facts) { f.Title = title }); err != nil {
		s.d.log.Warn("store title", "session", s.id, "error", err)
	}
}

func (d *daemon) serveEnd(c *call) error {
	var in local.End
	if err := c.decode(&in); err != nil {
		return err
	}
	if err := d.left(&in); err != nil {
		return err
	}
	return c.answer(nil)
}

func (d *daemon) serveShutdown(c *call) error {
	var in local.Shutdown
	if err := c.decode(&in); err != nil {
		return err
	}
	d.mu.Lock()
	d.leave = in.Leave
	d.mu.Unlock()
	kick(d.quit)
	return c.answer(nil)
}

func (d *daemon) serveStatus(c *call) error {
	waiting, err := d.store.waiting(c.ctx, "", "")
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

// standing tells how the line stands with its broker.
func (l *line) standing() (connected, replaced bool, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil && !l.connected {
		reason = l.err.Error()
	}
	return l.connected, l.replaced, reason
}
