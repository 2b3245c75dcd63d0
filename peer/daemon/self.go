package daemon

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// statusEvery is how often a running turn is confirmed to the broker, which
	// takes it for over after 60 s.
	statusEvery = 20 * time.Second
	tellTimeout = 10 * time.Second
)

func (d *daemon) serveSetSummary(c *call) error {
	var in local.SetSummary
	if err := c.decode(&in); err != nil {
		return err
	}
	if len(in.Summary) > wire.MaxTextLen {
		return invalid("the summary is longer than %d bytes", wire.MaxTextLen)
	}
	if err := c.s.update(func(f *facts) { f.Summary = in.Summary }); err != nil {
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
	if err := c.s.update(func(f *facts) { f.DND = dnd }); err != nil {
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
		return invalid("%q can't be the name of a group, or its role is too long", in.Name)
	}
	if f := c.s.snapshot(); len(f.Groups)+len(f.Edits.Joined) >= wire.MaxGroups {
		return refused("a session is in at most %d groups", wire.MaxGroups)
	}
	return c.editGroups(func(e *groupEdits) {
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
		return invalid("%q can't be the name of a group", in.Name)
	}
	if f := c.s.snapshot(); len(f.Edits.Left) >= wire.MaxGroups && !f.Edits.Left[in.Name] {
		return refused("this session has left %d groups already", wire.MaxGroups)
	}
	return c.editGroups(func(e *groupEdits) {
		if e.Left == nil {
			e.Left = make(map[string]bool)
		}
		e.Left[in.Name] = true
		delete(e.Joined, in.Name)
	})
}

func (c *call) editGroups(edit func(*groupEdits)) error {
	if err := c.s.update(func(f *facts) { edit(&f.Edits) }); err != nil {
		return err
	}
	c.s.tellStatus()
	return c.answer(nil)
}

// serveUnread is for the status line: it asks no broker.
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

// toldBroker is what a line has told its broker of its session over one connection.
type toldBroker struct {
	connects int
	status   wire.Status
	reason   string
	unable   string // why it can't read
	summary  string
	edits    groupEdits
}

// statusLoop tells the broker what the session is doing: after every connect, at
// every change, and again while a turn runs.
func (l *line) statusLoop(ctx context.Context, client *peer.Client) {
	repeat := time.NewTicker(statusEvery)
	defer repeat.Stop()
	var told toldBroker
	for {
		again := false
		select {
		case <-l.statusKick:
		case <-repeat.C:
			again = true
		case <-ctx.Done():
			return
		}
		if err := l.tellBroker(ctx, client, &told, again); err != nil && ctx.Err() == nil {
			// The connection is gone; the next one is told everything.
			l.log.Debug("tell status", "error", err)
		}
	}
}

func (l *line) tellBroker(ctx context.Context, client *peer.Client, told *toldBroker, again bool) error {
	l.mu.Lock()
	connected, connects := l.connected, l.connects
	l.mu.Unlock()
	if !connected {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	fresh := connects != told.connects
	status, reason := l.s.doing()
	unable := l.s.reads()
	f := l.s.snapshot()
	if fresh || status != told.status || reason != told.reason || unable != told.unable || again && status == wire.Working {
		// Only a status set by hand ends dnd.
		if byHand := status == wire.DND || fresh || told.status == wire.DND; byHand {
			if err := client.SetStatus(ctx, status); err != nil {
				return err
			}
		}
		if err := client.SetHookStatus(ctx, peer.HookStatus{Status: status, Reason: reason, CannotRead: unable}); err != nil {
			return err
		}
	}
	if f.Summary != told.summary || fresh && f.Summary != "" {
		if err := client.SetSummary(ctx, f.Summary); err != nil {
			return err
		}
	}
	if err := tellGroups(ctx, client, &f.Edits, &told.edits, fresh); err != nil {
		return err
	}
	*told = toldBroker{connects, status, reason, unable, f.Summary, f.Edits}
	return nil
}

func tellGroups(ctx context.Context, client *peer.Client, now, told *groupEdits, fresh bool) error {
	for name, role := range now.Joined {
		if was, ok := told.Joined[name]; ok && was == role && !fresh {
			continue
		}
		if err := client.JoinGroup(ctx, wire.Group{Name: name, Role: role}); err != nil {
			return err
		}
	}
	for name := range now.Left {
		if told.Left[name] && !fresh {
			continue
		}
		if err := client.LeaveGroup(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
