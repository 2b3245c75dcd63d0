package simulation

import (
	"time"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// presenceModel holds what an outsider can know about a peer's presence.
type presenceModel struct {
	id         wire.ID   // of the newest hello_ack
	online     bool      // it has a connection with an ack
	since      time.Time // from then on it has surely been here
	sureUntil  time.Time // until then a lease surely runs
	maybeUntil time.Time // until then a lease may run
	doubt      bool      // it may have ended, because another session succeeds it
	restored   bool      // by a broker that may not have loaded its mesh yet
	half       half      // for a daemon: whether the broker may take its old line for alive
}

// half describes a daemon whose line is gone: until the broker notices, the daemon's return creates
// a second presence beside the first.
type half int

const (
	whole   half = iota
	brief        // until the broker has served what it has read
	open         // until the broker finds the line dead
	swapped      // until both are gone: the broker may take the older of the two for the newer
)

// margin is the precision of the model's times.
const margin = 10 * time.Millisecond

// silence is the time after which the broker may give up a peer that reads nothing: the WebSocket
// library either writes a ping within that time or fails.
const silence = 5 * time.Second

// detection is how long the broker may take to find a connection dead.
const detection = pongTimeout + pingInterval + 10*time.Second

// surely reports whether the peer is certainly present, online or leased.
func (p *peer) surely(now time.Time) bool {
	m := &p.presence
	if c := p.current(); m.online && c != nil && c.frozen {
		return !m.doubt && now.Before(c.since.Add(silence+presenceLease-margin))
	}
	return !m.doubt && (m.online || now.Before(m.sureUntil))
}

// possibly reports whether the peer may be present. A suspended broker ends no presence whose lease has run
// out; it does so in its next sweep, within a second.
func (p *peer) possibly(now time.Time) bool {
	m := &p.presence
	if m.online || m.doubt || m.restored || now.Before(m.maybeUntil) || now.Before(p.twin) || p.world.server.suspendedLately() {
		return true
	}
	for _, c := range p.conns {
		if !c.hello.IsZero() && !c.wrong {
			return true
		}
	}
	return false
}

// halve records that the line of a daemon is gone. It ignores sessions: a session is identified by
// its key, so it has one presence even if the broker takes an old line for alive.
func (p *peer) halve(h half) {
	if p.daemon() {
		p.presence.half = max(p.presence.half, h)
		p.twins, p.mixed = true, p.mixed || p.presence.half == swapped
	}
}

// lingers reports whether the broker may still be serving what came over a line before the line was
// cut.
func (p *peer) lingers(cut time.Time) bool {
	past := time.Since(cut)
	return !cut.IsZero() && past < patience && (past < calm || p.world.server.fairFor() < calm)
}

// offline records that the peer's connection c is gone. The lease begins, unless it has begun
// already.
func (p *peer) offline(c *conn, now time.Time) {
	m := &p.presence
	if m.online {
		begin := now
		if given := c.since.Add(silence); (c.frozen || now.Sub(c.thawed) <= margin) && given.Before(now) {
			begin = given
		}
		m.online, m.sureUntil = false, begin.Add(presenceLease-margin)
	}
	m.maybeUntil = later(m.maybeUntil, now.Add(detection+presenceLease))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// statusModel predicts a peer's status.
type statusModel struct {
	known    bool
	value    wire.Status
	source   presence.Source // 0: unknown
	at       time.Time
	active   time.Time // last sign of life that was surely served
	maybe    time.Time // last moment at which one may have been
	restless int       // signs of life that may or may not have been served
	since    time.Time // from then on it has had this value, and the broker has served every change
	pending  int       // changes that may or may not have been served
	tainted  int       // of those, the ones that a hook may have overtaken
	held     time.Time // when the broker last kept a hook signal for a presence to come
	life     int       // counts presences and connections: effects of one say nothing about the next
}

// current returns the status, if it is certain.
func (s *statusModel) current(now time.Time) (wire.Status, bool) {
	if !s.known || s.pending > 0 {
		return "", false
	}
	if s.value == wire.Working && s.source != presence.Manual {
		life := later(s.at, s.active)
		switch {
		case now.Before(life.Add(statusTTL - 1500*time.Millisecond)):
		case s.source != 0 && s.restless == 0 && now.After(later(life, s.maybe).Add(statusTTL+2500*time.Millisecond)):
			s.value, s.source, s.at = wire.Idle, presence.JSONL, later(life, s.maybe).Add(statusTTL)
			s.since = now
		default:
			return "", false
		}
	}
	return s.value, true
}

// statusNow is like current, but the status is unknown while a hello that may change it is on its way.
func (p *peer) statusNow(now time.Time) (wire.Status, bool) {
	s := &p.status
	value, known := s.current(now)
	for _, c := range p.conns {
		if c.acked.IsZero() && !c.hello.IsZero() && !c.wrong {
			known = known && c.hello.Sub(s.held) > hookHold && (value != wire.Working || p.surely(now))
		}
	}
	return value, known
}

// set records a status that is certain.
func (s *statusModel) set(value wire.Status, source presence.Source, at time.Time) {
	if !s.known || s.value != value {
		s.since = time.Now()
	}
	s.known, s.value, s.source, s.at = true, value, source, at
}

// signal applies the rules of protocol v1 to a signal. A set_status is manual.
func (s *statusModel) signal(value wire.Status, source presence.Source, now time.Time) {
	was, known := s.current(now)
	s.active = later(s.active, now)
	switch {
	case !known && source == presence.Manual:
		s.set(value, 0, now)
	case !known:
		s.known = false
	case was == wire.DND && value != wire.DND && source != presence.Manual:
	case was != value || s.source != 0 && source >= s.source:
		s.set(value, source, now)
	case s.source == 0:
		s.at = now
	case now.Sub(s.at) > hookWindow+margin:
		s.set(value, source, now)
	case now.Sub(s.at) > hookWindow-margin:
		s.source = 0
	}
}

// begin sets the status of a new presence, which keeps only dnd from the one before.
func (s *statusModel) begin(now time.Time) {
	was, known := s.current(now)
	s.active = now
	switch {
	case !known:
		s.known = false
	case was == wire.DND:
	default:
		s.set(wire.Idle, presence.JSONL, now)
	}
}

// stir records that something was sent over c that is a sign of life once the broker has served it.
func (c *conn) stir() {
	s, sent := &c.peer.status, time.Now()
	life := s.life
	if _, known := s.current(sent); !known && s.pending == 0 {
		s.known = false // it may have come too late
	}
	s.restless++
	c.effects = append(c.effects, func() {
		if s.life == life {
			s.restless--
			s.active, s.maybe = later(s.active, sent), time.Now()
		}
	})
}

// calm records that nothing is on its way over a line any more, except what the broker has already
// read.
func (s *statusModel) calm(now time.Time) {
	if s.restless > 0 {
		s.restless, s.maybe = 0, now.Add(patience)
	}
}

// served records that the broker has served the oldest pending change.
func (s *statusModel) served(value wire.Status, source presence.Source, sent time.Time) {
	s.pending--
	pending := s.pending
	if s.tainted > 0 {
		s.tainted--
		s.known = false
		return
	}
	s.pending = 0 // only for now: what comes after it does not count yet
	was := *s
	s.signal(value, source, sent)
	if was.value == value && source < was.source && time.Since(sent) > margin {
		s.source = 0 // the age of the status before is unknown
	}
	s.pending, s.maybe = pending, time.Now()
}

// overtaken records that something else changed the status, before or after the pending changes.
func (s *statusModel) overtaken(value wire.Status, source presence.Source) {
	if s.pending > 0 {
		s.tainted, s.known = s.pending, false
		s.active = time.Now()
		return
	}
	s.signal(value, source, time.Now())
}

// joined records that the peer has a new connection, and maybe a new presence.
func (s *statusModel) joined(now, hello time.Time, isNew, inherits bool) {
	if s.pending > 0 || inherits || hello.Sub(s.held) < hookHold {
		s.known = false
	}
	s.life++
	s.pending, s.tainted = 0, 0
	s.calm(now)
	if isNew {
		s.begin(now)
	}
}

// maybeJoined records that the broker may have served a hello whose answer did not come.
func (s *statusModel) maybeJoined(now time.Time, here bool) {
	if value, known := s.current(now); now.Sub(s.held) < hookHold || known && value == wire.Working && !here {
		s.known = false
	}
}

// reload sets the model to what the storage has, after the broker has restarted. It checks that
// what happened before strict is committed.
func (p *peer) reload(now time.Time, strict time.Time) {
	m, s := &p.presence, &p.status
	rec, ok := p.world.server.record(p.member.mesh, p.identity())
	here := ok && rec.EndedAt.IsZero()
	if p.surely(now) && m.since.Before(strict) && m.half == whole {
		if !here || rec.ID != m.id {
			p.world.violateLocked("6: %s has been present since %s, but the storage does not have it", p.name, clock(m.since))
		}
		if value, known := p.statusNow(now); known && s.since.Before(strict) && rec.Status != value {
			p.world.violateLocked("7: %s has been %s since %s, but in the storage it is %s", p.name, value, clock(s.since), rec.Status)
		}
	}
	for _, c := range p.conns {
		c.ended = true
		c.link.cut(true)
	}
	p.conns = nil
	half := m.half
	if p.twins { // presences that have ended may be back, because the storage did not know of their end
		half = swapped
	}
	*m = presenceModel{id: m.id, restored: here || p.daemon(), half: half}
	p.haunted, p.cursed = time.Time{}, time.Time{}
	if here {
		m.id, m.since, m.sureUntil = rec.ID, now, now.Add(presenceLease-margin)
	}
	*s = statusModel{life: s.life + 1, known: ok, value: rec.Status, source: rec.Source, at: earlier(rec.StatusAt, now), active: earlier(rec.LastSeenAt, now), since: now}
	if !here {
		s.source = 0
	}
	s.restless = 1 // no status falls back to idle before the mesh is loaded
	if ok && p.hiding == 0 && p.visible != rec.Visible {
		p.hiding++ // until it says so again
	}
	for _, g := range groupNames {
		if here && p.groups[g] != hasGroup(&rec, g) {
			p.unsure[g] = true
		}
	}
}

func hasGroup(r *presence.Record, name string) bool {
	for _, g := range r.Groups {
		if g.Name == name {
			return true
		}
	}
	return false
}

// clock shows a moment of virtual time.
func clock(t time.Time) string { return t.Sub(epoch).Round(time.Millisecond).String() }
