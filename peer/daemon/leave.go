package daemon

import (
	"slices"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/local"
)

// A clear ends one session of a process and starts its successor. Claude Code reports it with
// two hooks. These run beside the hooks of others, so they arrive in any order and up to
// minutes apart, and an IDE calls the second one a startup. The daemon therefore recognizes a
// clear by two facts: the process reports that a clear ended the session, and it runs another
// session.

// left records that a process has left its session, as reported by the process itself.
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
		return nil // it left earlier
	case p.session.id != id:
		return d.leftEarlierLocked(p, id, clears)
	case !clears || d.over(p):
		return d.departLocked(p)
	}
	entry := p.Process
	entry.Cleared = true
	if err := d.store.PutProcess(d.writeContext(), entry); err != nil {
		return err
	}
	d.mu.Lock()
	p.Process = entry
	d.mu.Unlock()
	return nil
}

// leftEarlierLocked records how an earlier session of the process ended.
func (d *daemon) leftEarlierLocked(p *proc, id string, clears bool) error {
	is := func(s *session) bool { return s.id == id }
	d.mu.Lock()
	i := slices.IndexFunc(p.earlier, is)
	if i < 0 {
		d.mu.Unlock()
		return nil
	}
	old := p.earlier[i]
	d.mu.Unlock()
	if clears && d.session(id) == nil {
		if err := d.succeedLateLocked(p.session, old); err != nil {
			return err
		}
	}
	if err := d.store.ForgetEarlier(d.writeContext(), p.Number, id); err != nil {
		return err
	}
	d.mu.Lock()
	p.earlier = slices.DeleteFunc(p.earlier, is)
	d.mu.Unlock()
	return nil
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
