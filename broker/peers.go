package broker

import (
	"time"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// listPeers answers with the roster: every presence by its own facts, hidden ones
// only to their own member.
func (c *conn) listPeers(frame *wire.Frame) error {
	r := c.room
	list := wire.PeersList{Type: wire.TypePeersList, ReqID: frame.ReqID}
	r.mu.RLock()
	list.Peers = make([]wire.PeerRow, 0, r.Len())
	for _, p := range r.All() {
		if p.Visible || p.MemberKey == c.member {
			list.Peers = append(list.Peers, r.row(p))
		}
	}
	r.mu.RUnlock()
	c.send(list)
	return nil
}

func (r *room) row(p *presence.Presence[*conn]) wire.PeerRow {
	row := wire.PeerRow{
		Pubkey: p.Key(), MemberPubkey: p.MemberKey, DisplayName: p.DisplayName, Status: p.Status,
		Groups: orEmpty(p.Groups), SessionID: p.SessionID, ConnectedAt: wire.Time{Time: p.ConnectedAt}, Cwd: p.Cwd,
		PeerRole: p.Role, Hostname: p.Hostname, PeerType: p.PeerType, Channel: p.Channel, Model: p.Model,
		Stats: p.Stats, Profile: p.Profile, Visible: p.Visible, Online: p.Online,
		StatusReason: p.StatusReason, CannotRead: p.CannotRead, Attestation: p.Attestation, SealedGroups: p.SealedGroups,
	}
	if p.Summary != "" {
		summary := p.Summary // the row outlives the lock
		row.Summary = &summary
	}
	if m, ok := r.members.Member(p.MemberKey); ok {
		row.MemberRole = string(m.Role)
	}
	return row
}

// change applies a change of the connection's own presence under the room's lock.
func (c *conn) change(apply func(r *room, p *presence.Presence[*conn], now time.Time) error) error {
	if err := c.peer(); err != nil {
		return err
	}
	c.touch()
	r := c.room
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.present.Conn != c {
		return nil // replaced meanwhile: the presence is another connection's now
	}
	err := apply(r, c.present, time.Now())
	r.save()
	return err
}

func (c *conn) setStatus(frame *wire.Frame) error {
	m, err := wire.DecodeSetStatus(frame)
	if err != nil {
		return err
	}
	signal := presence.Signal{Status: m.Status, Source: presence.Manual, Reason: m.Reason}
	if m.Source == wire.SourceHook {
		signal.Source = presence.Hook
	}
	return c.change(func(r *room, p *presence.Presence[*conn], now time.Time) error {
		if m.CannotRead != nil {
			p.CannotRead = *m.CannotRead // whatever becomes of the status
		}
		if r.SetStatus(p, signal, now, r.broker.Settings().HookFreshWindow) {
			r.regate(p)
		}
		return nil
	})
}

func (c *conn) setSummary(frame *wire.Frame) error {
	m, err := wire.DecodeSetSummary(frame)
	if err != nil {
		return err
	}
	return c.change(func(r *room, p *presence.Presence[*conn], _ time.Time) error {
		r.SetSummary(p, m.Summary)
		return nil
	})
}

// setStats is sent by the clock, not by the peer, so it is no sign of activity.
func (c *conn) setStats(frame *wire.Frame) error {
	m, err := wire.DecodeSetStats(frame)
	if err != nil {
		return err
	}
	if err := c.peer(); err != nil {
		return err
	}
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	if c.present.Conn == c {
		c.room.SetStats(c.present, m.Stats)
		c.room.save()
	}
	return nil
}

func (c *conn) setVisible(frame *wire.Frame) error {
	m, err := wire.DecodeSetVisible(frame)
	if err != nil {
		return err
	}
	err = c.change(func(r *room, p *presence.Presence[*conn], _ time.Time) error {
		if !r.SetVisible(p, m.Visible) {
			return nil
		}
		event := wire.EventPeerHidden
		if m.Visible {
			event = wire.EventPeerVisible
		}
		r.announce(p, event, wire.EventData{Name: p.DisplayName, Pubkey: p.Key()}, true)
		return nil
	})
	return c.acknowledged(frame, err)
}

func (c *conn) setProfile(frame *wire.Frame) error {
	profile, err := wire.DecodeSetProfile(frame)
	if err != nil {
		return err
	}
	err = c.change(func(r *room, p *presence.Presence[*conn], _ time.Time) error {
		r.SetProfile(p, &profile)
		if p.Visible {
			r.announce(p, wire.EventProfileUpdated, wire.EventData{Name: p.DisplayName, Pubkey: p.Key(), Profile: &profile}, true)
		}
		return nil
	})
	return c.acknowledged(frame, err)
}

// acknowledged answers a request that is answered with an ack.
func (c *conn) acknowledged(frame *wire.Frame, err error) error {
	if err == nil {
		ack := wire.Ack{ID: frame.ReqID, ReqID: frame.ReqID}
		c.out.add(ack.AppendJSON(nil))
	}
	return err
}

func (c *conn) joinGroup(frame *wire.Frame) error {
	g, err := wire.DecodeJoinGroup(frame)
	if err != nil {
		return err
	}
	return c.change(func(r *room, p *presence.Presence[*conn], _ time.Time) error {
		if err := r.JoinGroup(p, g); err != nil {
			return &requestError{wire.CodeInvalid, err.Error()}
		}
		return nil
	})
}

func (c *conn) leaveGroup(frame *wire.Frame) error {
	name, err := wire.DecodeLeaveGroup(frame)
	if err != nil {
		return err
	}
	return c.change(func(r *room, p *presence.Presence[*conn], _ time.Time) error {
		r.LeaveGroup(p, name)
		return nil
	})
}
