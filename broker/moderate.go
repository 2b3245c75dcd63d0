package broker

import (
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// minKeyStart is how many digits of a key suffice to name it.
const minKeyStart = 8

// kick ends sessions, but not the connections of daemons and commands.
func (c *conn) kick(frame *wire.Frame) error {
	return c.sendAway(frame, farewell{
		answer: wire.TypeKickAck, code: wire.CloseKicked, reason: wire.ReasonKicked, stale: wire.ReasonKickedStale, sessionsOnly: true,
	})
}

// disconnect ends presences of any kind. Their clients may reconnect at once.
func (c *conn) disconnect(frame *wire.Frame) error {
	return c.sendAway(frame, farewell{
		answer: wire.TypeDisconnectAck, code: wire.CloseNormal, reason: wire.ReasonDisconnected, stale: wire.ReasonDisconnectedStale,
	})
}

// farewell says how peers are sent away.
type farewell struct {
	answer        string
	code          int
	reason, stale string // of the close
	sessionsOnly  bool
}

func (c *conn) sendAway(frame *wire.Frame, how farewell) error {
	m, err := wire.DecodeSendAway(frame)
	if err != nil {
		return err
	}
	if err := c.moderator(); err != nil {
		return err
	}
	reason := how.reason
	if m.Stale > 0 {
		reason = how.stale
	}
	answer := wire.SentAway{Type: how.answer, Kicked: []string{}, ReqID: frame.ReqID}
	r, now := c.room, time.Now()
	r.mu.Lock()
	chosen, err := c.chosenLocked(&m, now)
	for _, p := range chosen {
		if how.sessionsOnly && p.Role != wire.RoleSession {
			answer.SkippedControlPlane = append(answer.SkippedControlPlane, p.DisplayName)
			continue
		}
		c.note(audit.PeerKickedDetail{Presence: p.ID, Member: p.MemberID, Key: p.Key()})
		r.sendAwayLocked(p, endSentAway, how.code, reason, m.Reason)
		r.resettleLocked(p)
		answer.Kicked = append(answer.Kicked, p.DisplayName)
	}
	r.saveLocked()
	r.unlock()
	if err != nil {
		return err
	}
	answer.Affected = answer.Kicked
	c.send(answer)
	return nil
}

// moderator returns an error unless the member may send others away.
func (c *conn) moderator() error {
	if me, ok := c.room.members.Member(c.member); !ok || !me.CanAdmin() {
		return &requestError{wire.CodeForbidden, "only the owner and admins may kick, disconnect and ban"}
	}
	return nil
}

// chosenLocked returns the presences that a kick or disconnect is for, except the asker's own.
func (c *conn) chosenLocked(m *wire.SendAway, now time.Time) ([]*presence.Presence[*conn], error) {
	var list []*presence.Presence[*conn]
	if m.Target != "" {
		var err error
		if list, err = c.room.namedLocked(m.Target); err != nil {
			return nil, err
		}
	} else {
		for _, p := range c.room.presences.All() {
			if m.All && p.MemberKey != c.member || m.Stale > 0 && silence(p, now) >= time.Duration(m.Stale)*time.Millisecond {
				list = append(list, p)
			}
		}
	}
	return slices.DeleteFunc(list, func(p *presence.Presence[*conn]) bool { return p == c.present }), nil
}

// silence returns how long a presence's client has sent nothing.
func silence(p *presence.Presence[*conn], now time.Time) time.Duration {
	if !p.Online {
		return now.Sub(p.LastSeenAt)
	}
	return p.Conn.out.socket.silence()
}

// namedLocked returns the presences that a target names: by whole key, else by name, else by the
// start of a key. A target that fits several members is refused.
func (r *room) namedLocked(target string) ([]*presence.Presence[*conn], error) {
	key, err := wire.ParseKey(target)
	isKey, isName := err == nil, alike.Mistaken(target) == "" // a name that looks like a key does not count
	for _, fits := range []func(p *presence.Presence[*conn]) bool{
		func(p *presence.Presence[*conn]) bool { return isKey && (p.SessionKey == key || p.MemberKey == key) },
		func(p *presence.Presence[*conn]) bool { return isName && p.DisplayName == target },
		func(p *presence.Presence[*conn]) bool { return isName && strings.EqualFold(p.DisplayName, target) },
		func(p *presence.Presence[*conn]) bool {
			return keyBegins(p.SessionKey, target) || keyBegins(p.MemberKey, target)
		},
	} {
		var found []*presence.Presence[*conn]
		for _, p := range r.presences.All() {
			if fits(p) {
				found = append(found, p)
			}
		}
		for _, p := range found {
			if p.MemberKey != found[0].MemberKey {
				return nil, &requestError{wire.CodeInvalid, "invalid target: it means several members; give a key"}
			}
		}
		if len(found) > 0 || isKey {
			return found, nil
		}
	}
	return nil, nil
}

func keyBegins(key wire.Key, start string) bool {
	return len(start) >= minKeyStart && !key.IsZero() && strings.HasPrefix(key.String(), strings.ToLower(start))
}

// member returns the key of the member that the target of a ban or unban names, directly or
// through one of its presences.
func (r *room) member(target string, banned bool) (wire.Key, error) {
	key, err := wire.ParseKey(target)
	isKey, isName := err == nil, alike.Mistaken(target) == "" // a name that looks like a key does not count
	for _, fits := range []func(m *mesh.Member) bool{
		func(m *mesh.Member) bool { return isKey && m.Key == key },
		func(m *mesh.Member) bool { return isName && m.DisplayName == target },
		func(m *mesh.Member) bool { return isName && strings.EqualFold(m.DisplayName, target) },
		func(m *mesh.Member) bool { return keyBegins(m.Key, target) },
	} {
		var found []*mesh.Member
		for _, m := range r.members.Members() {
			// A member that was removed for good is found by its whole key only.
			if fits(m) && (m.Removed() == banned || isKey) {
				found = append(found, m)
			}
		}
		if len(found) == 1 {
			return found[0].Key, nil
		}
		if len(found) > 1 {
			return wire.Key{}, &requestError{wire.CodeInvalid, "invalid target: it means several members; give a key"}
		}
	}
	if !banned {
		r.mu.RLock()
		defer r.mu.RUnlock()
		if list, err := r.namedLocked(target); err != nil || len(list) > 0 {
			if err != nil {
				return wire.Key{}, err
			}
			return list[0].MemberKey, nil
		}
		if known, ok := r.presences.Known(key); isKey && ok {
			if m, ok := r.members.MemberByID(known.MemberID); ok {
				return m.Key, nil
			}
		}
	}
	return wire.Key{}, &requestError{wire.CodeNotFound, "no such member"}
}

// ban bars a member until unban.
func (c *conn) ban(frame *wire.Frame) error {
	m, err := wire.DecodeBan(frame)
	if err != nil {
		return err
	}
	if err := c.moderator(); err != nil {
		return err
	}
	key, err := c.room.member(m.Target, false)
	if err != nil {
		return err
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	member, err := c.broker.meshes.Ban(ctx, c.actor, key, m.Reason, time.Now())
	if err != nil {
		return err
	}
	c.note(audit.MemberBannedDetail{Member: member.ID, Key: member.Key})
	c.room.expel(member.ID, key, m.Reason)
	c.send(wire.BanAck{Type: wire.TypeBanAck, Banned: member.DisplayName, Pubkey: key, ReqID: frame.ReqID})
	return nil
}

// unban lifts a ban.
func (c *conn) unban(frame *wire.Frame) error {
	m, err := wire.DecodeBan(frame)
	if err != nil {
		return err
	}
	if err := c.moderator(); err != nil {
		return err
	}
	key, err := c.room.member(m.Target, true)
	if err != nil {
		return err
	}
	ctx, cancel := c.broker.storageContext()
	defer cancel()
	member, err := c.broker.meshes.Unban(ctx, c.actor, key)
	if err != nil {
		return err
	}
	c.note(audit.MemberUnbannedDetail{Member: member.ID, Key: member.Key})
	c.send(wire.UnbanAck{Type: wire.TypeUnbanAck, Unbanned: member.DisplayName, Pubkey: key, ReqID: frame.ReqID})
	return nil
}

// listBans lists the banned members.
func (c *conn) listBans(frame *wire.Frame) error {
	if err := c.moderator(); err != nil {
		return err
	}
	answer := wire.BanList{Type: wire.TypeListBansResult, Bans: []wire.BanRow{}, ReqID: frame.ReqID}
	for _, m := range c.room.members.Members() {
		if m.Banned {
			answer.Bans = append(answer.Bans, wire.BanRow{
				Name: m.DisplayName, Pubkey: m.Key, RevokedAt: wire.Time{Time: m.RemovedAt}, Reason: m.BanReason,
			})
		}
	}
	c.send(answer)
	return nil
}

// sendAwayLocked ends a presence and its connection at once. The peer is told word, if it is
// not "".
func (r *room) sendAwayLocked(p *presence.Presence[*conn], how ending, code int, reason, word string) {
	online, c := p.Online, p.Conn
	if online {
		r.broker.queue.Detach(r.mailboxLocked(p), c)
	}
	if r.presences.End(p, time.Now()) {
		r.departedLocked(p)
	}
	if !online {
		return
	}
	if word != "" {
		c.send(wire.NewError(wire.Code(reason), word, ""))
	}
	c.end(how, code, reason)
}
