package daemon

import (
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

func (d *daemon) serveSetSummary(c *call) error {
	var in local.SetSummary
	if err := c.decode(&in); err != nil {
		return err
	}
	if len(in.Summary) > wire.MaxTextLen {
		return invalid("the summary is longer than %d bytes", wire.MaxTextLen)
	}
	if err := c.s.update(func(f *store.Session) { f.Summary = in.Summary }); err != nil {
		return err
	}
	c.s.tellStatus()
	return c.answer(nil)
}

func (d *daemon) serveSetStatus(c *call) error {
	var in local.SetStatus
	if err := c.decode(&in); err != nil {
		return err
	}
	if !in.Status.Valid() {
		return invalid("status must be idle, working or dnd")
	}
	dnd := in.Status == wire.DND
	if err := c.s.update(func(f *store.Session) { f.DND = dnd }); err != nil {
		return err
	}
	if !dnd {
		c.s.mu.Lock()
		c.s.state.set(in.Status, "", time.Now())
		c.s.mu.Unlock()
	}
	c.s.desk.SetDND(dnd)
	c.s.tellStatus()
	return c.answer(nil)
}

func (d *daemon) serveJoinGroup(c *call) error {
	var in local.Group
	if err := c.decode(&in); err != nil {
		return err
	}
	if !wire.ValidGroup(in.Name) || len(in.Role) > wire.MaxNameLen {
		return invalid("%q is not a valid group name, or its role is too long", in.Name)
	}
	f := c.s.snapshot()
	if _, joined := f.Edits.Joined[in.Name]; !joined && len(f.Groups)+len(f.Edits.Joined) >= wire.MaxGroups {
		return refused("a session can be in at most %d groups", wire.MaxGroups)
	}
	return c.editGroups(func(e *store.GroupEdits) {
		if e.Joined == nil {
			e.Joined = make(map[string]string)
		}
		e.Joined[in.Name] = in.Role
		delete(e.Left, in.Name)
	})
}

func (d *daemon) serveLeaveGroup(c *call) error {
	var in local.Group
	if err := c.decode(&in); err != nil {
		return err
	}
	if !wire.ValidGroup(in.Name) {
		return invalid("%q is not a valid group name", in.Name)
	}
	if f := c.s.snapshot(); len(f.Edits.Left) >= wire.MaxGroups && !f.Edits.Left[in.Name] {
		return refused("this session has left %d groups already", wire.MaxGroups)
	}
	return c.editGroups(func(e *store.GroupEdits) {
		if e.Left == nil {
			e.Left = make(map[string]bool)
		}
		e.Left[in.Name] = true
		delete(e.Joined, in.Name)
	})
}

func (c *call) editGroups(edit func(*store.GroupEdits)) error {
	if err := c.s.update(func(f *store.Session) { edit(&f.Edits) }); err != nil {
		return err
	}
	c.s.tellStatus()
	return c.answer(nil)
}
