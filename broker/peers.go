package broker

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// rowRoom is about the size of a roster row in bytes.
const rowRoom = 1024

// listPeers answers with the roster, or with its changes since a version. Hidden presences are
// shown to their own member only.
func (c *conn) listPeers(frame *wire.Frame) error {
	m, err := wire.DecodeListPeers(frame)
	if err != nil {
		return err
	}
	r := c.room
	list := wire.PeersList{Type: wire.TypePeersList, ReqID: frame.ReqID}
	r.mu.RLock()
	now := r.presences.Version()
	changed, gone, ok := []*presence.Presence[*conn](nil), []wire.ID(nil), false
	if since, known := r.parseVersion(m.Since); known {
		changed, gone, ok = r.presences.Since(since, c.member)
	}
	if ok {
		list.Since, list.Gone = m.Since, gone
	} else {
		changed = r.presences.All()
	}
	rows := make([]listed, 0, len(changed)) // copied, so that nobody waits while they are described
	for _, p := range changed {
		if p.Visible || p.MemberKey == c.member {
			rows = append(rows, listed{p.Record, p.CannotRead, p.Online})
		}
	}
	if c.keepsRoster && c.present != nil {
		r.news.knows(c, now)
	}
	r.mu.RUnlock()
	list.Version = r.versionText(now)
	list.Peers = make([]wire.PeerRow, len(rows))
	for i := range rows {
		list.Peers[i] = r.row(&rows[i])
	}
	c.out.add(list.AppendJSON(make([]byte, 0, rowRoom*(len(list.Peers)+1))))
	return nil
}

// rosterRows returns how many rows the answer to a list_peers has.
func (c *conn) rosterRows(frame *wire.Frame) int {
	m, err := wire.DecodeListPeers(frame)
	if err != nil {
		return 0
	}
	r := c.room
	r.mu.RLock()
	defer r.mu.RUnlock()
	if since, known := r.parseVersion(m.Since); known {
		if changed, gone, ok := r.presences.Since(since, c.member); ok {
			return len(changed) + len(gone)
		}
	}
	return r.presences.Len()
}

// versionText returns a version as clients see it. It contains the room's epoch, so it is valid
// only until the mesh is loaded again.
func (r *room) versionText(version uint64) string {
	return r.epoch + "-" + strconv.FormatUint(version, 10)
}

func (r *room) parseVersion(text string) (version uint64, ok bool) {
	epoch, number, _ := strings.Cut(text, "-")
	version, err := strconv.ParseUint(number, 10, 64)
	return version, err == nil && epoch == r.epoch
}

func newEpoch() string {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// listed is a copy of a presence.
type listed struct {
	presence.Record
	cannotRead string
	online     bool
}

func (r *room) row(p *listed) wire.PeerRow {
	row := wire.PeerRow{
		Pubkey: p.Key(), MemberPubkey: p.MemberKey, DisplayName: p.DisplayName, Status: p.Status,
		Groups: orEmpty(p.Groups), SessionID: p.SessionID, ConnectedAt: wire.Time{Time: p.ConnectedAt}, Cwd: p.Cwd,
		PeerRole: p.Role, Hostname: p.Hostname, PeerType: p.PeerType, Channel: p.Channel, Model: p.Model,
		Stats: p.Stats, Profile: p.Profile, Visible: p.Visible, PresenceID: p.ID, Online: p.online,
		StatusReason: p.StatusReason, CannotRead: p.cannotRead, Attestation: p.Attestation, SealedGroups: p.SealedGroups,
	}
	if p.Summary != "" {
		row.Summary = &p.Summary
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
	r.saveLocked()
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
			r.presences.SetCannotRead(p, *m.CannotRead) // even if the status is not taken
		}
		if r.presences.SetStatus(p, signal, now, r.broker.Settings().HookFreshWindow) {
			r.regateLocked(p)
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
		r.presences.SetSummary(p, m.Summary)
		return nil
	})
}

// setStats takes the stats that a client sends at intervals by itself, so they don't show that the
// session is alive.
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
		c.room.presences.SetStats(c.present, m.Stats)
		c.room.saveLocked()
	}
	return nil
}

func (c *conn) setVisible(frame *wire.Frame) error {
	m, err := wire.DecodeSetVisible(frame)
	if err != nil {
		return err
	}
	err = c.change(func(r *room, p *presence.Presence[*conn], _ time.Time) error {
		if r.presences.SetVisible(p, m.Visible) {
			r.postponeLocked(p, !m.Visible, false)
		}
		return nil
	})
	return c.acknowledged(frame, err)
}

func (c *conn) setProfile(frame *wire.Frame) error {
	changes, err := wire.DecodeSetProfile(frame)
	if err != nil {
		return err
	}
	err = c.change(func(r *room, p *presence.Presence[*conn], _ time.Time) error {
		r.presences.SetProfile(p, changes.Apply(p.Profile))
		r.postponeLocked(p, p.Visible, true)
		return nil
	})
	return c.acknowledged(frame, err)
}

// acknowledged answers a request with an ack.
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
		if err := r.presences.JoinGroup(p, g); err != nil {
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
		r.presences.LeaveGroup(p, name)
		return nil
	})
}
