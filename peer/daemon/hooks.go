package daemon

import (
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/daemon/attention"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// serveActivity serves hooks that must not wait, so the daemon writes to disk after the answer.
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
		return refused("process %s now runs another session", n)
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
	d.group.Go(func() { s.afterActivity(&in) }) // safe: this call holds the group open
	return err
}

// servePrinted also serves hooks that must not wait.
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
	s.pointers.settle(in.Number, nil) // write to disk after the answer
	return err
}

// hooked records what a hook reports about the session.
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

// settleBeforeTurn makes the messages unread again that an interrupted turn fetched but did not
// show to the model. The next prompt can then announce them.
func (s *session) settleBeforeTurn() {
	if len(s.d.takes.of(s.id)) == 0 {
		return
	}
	if _, err := s.d.judgeTakes(s.id, newTurn); err != nil {
		s.d.log.Error("find out whether messages reached the context", "session", s.id, "error", err)
	}
}

// afterActivity does the work that the hook need not wait for.
func (s *session) afterActivity(in *local.Activity) {
	if len(in.Ended) > 0 {
		s.followTakes()
	}
	title := cut(in.Title, wire.MaxTextLen)
	if title == "" || title == s.snapshot().Title {
		return
	}
	if err := s.update(func(f *store.Session) { f.Title = title }); err != nil {
		s.d.log.Warn("store title", "session", s.id, "error", err)
	}
}
