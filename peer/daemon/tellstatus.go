package daemon

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// statusEvery is how often the daemon confirms a running turn to the broker. It must
	// be shorter than the broker's status_ttl, 60 s by default, after which the broker
	// sets the session to idle.
	statusEvery = 20 * time.Second
	tellTimeout = 10 * time.Second
)

// toldBroker is what the daemon last told a broker about a session on the current connection.
type toldBroker struct {
	connects int
	status   wire.Status
	reason   string
	unable   string // why the session can't read
	summary  string
	edits    store.GroupEdits
}

// statusLoop tells the broker what the session is doing: after every connect, at every change,
// and repeatedly while a turn runs.
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
			// The connection is gone. The loop tells the next one everything.
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
		// Only a status set by hand ends dnd. The broker may still have dnd from an earlier
		// connection.
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

func tellGroups(ctx context.Context, client *peer.Client, now, told *store.GroupEdits, fresh bool) error {
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
