package daemon

import (
	"slices"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/local"
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
		return d.departLocked(p)
	}
	entry := p.Process
	entry.Cleared = true
	if err := d.store.PutProcess(d.write(), entry); err != nil {
		return err
	}
	d.mu.Lock()
	p.Process = entry
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
	return d.store.ForgetEarlier(d.write(), p.Number, id)
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
