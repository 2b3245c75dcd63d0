package broker

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// newsLimit is how many news may wait before the news about each presence are reduced
	// to their net effect.
	newsLimit = 256
	// newsDelay is how long news wait for more, so that many arrivals at once are not
	// written one by one to everybody. Any other write takes them along.
	newsDelay = 50 * time.Millisecond
	// noticesAtOnce is how many connections are told, every newsDelay, that the roster has
	// changed. The bound keeps notices from delaying messages.
	noticesAtOnce = 64
)

// news tells a room's connections about arrivals, departures and changes. A client that keeps
// the roster by its versions gets one roster_changed until it asks; any other client gets a
// system push for each event. The room's lock is held only for a moment: tell encodes each
// event once and hands it out without the lock.
type news struct {
	room *room

	mu      sync.Mutex
	waiting []*event
	seq     uint64 // of the newest event
	telling bool
	hearers map[*conn]uint64 // connections that get system pushes, and the event after which each arrived
	// keepers holds the connections to tell of the next change, and the version that each knows
	keepers map[*conn]uint64
	changed uint64 // version of the newest change
	soon    bool   // notify is scheduled
}

// event is something about a presence that a system push tells.
type event struct {
	about  *presence.Presence[*conn] // to compare only: its fields need the room's lock
	member wire.Key                  // of about
	own    bool                      // other presences of that member are told too
	but    []*presence.Presence[*conn]
	seq    uint64
	kind   string
	data   wire.EventData
	at     time.Time
	frame  []byte // once it is encoded
}

// admit adds a connection that is told of changes after a version of the roster. heir is the
// connection that it replaces, or nil.
func (n *news) admit(c, heir *conn, version uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.keepsRoster {
		n.armLocked(c, version)
		return
	}
	seq := n.seq
	if before, ok := n.hearers[heir]; ok {
		seq = before
	}
	if n.hearers == nil {
		n.hearers = make(map[*conn]uint64)
	}
	n.hearers[c] = seq
}

// knows records that c has the roster of a version and is to be told of the next change.
func (n *news) knows(c *conn, version uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.armLocked(c, version)
}

func (n *news) armLocked(c *conn, version uint64) {
	if n.keepers == nil {
		n.keepers = make(map[*conn]uint64)
	}
	n.keepers[c] = version
}

func (n *news) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hearers, c)
	delete(n.keepers, c)
}

// add takes an event, which led to a version of the roster.
func (n *news) add(e *event, version uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changed = version
	n.notifySoonLocked()
	n.seq++
	e.seq = n.seq
	if len(n.hearers) == 0 {
		return
	}
	if n.waiting = append(n.waiting, e); len(n.waiting)%newsLimit == 0 {
		n.waiting = reduce(n.waiting, func(e *event) *event { return e })
	}
}

// tell hands out the waiting events. If another call is doing so already, that call hands out
// these too.
func (n *news) tell() {
	n.mu.Lock()
	if n.telling || len(n.waiting) == 0 {
		n.mu.Unlock()
		return
	}
	n.telling = true
	events := n.waiting
	n.waiting = nil
	hearers := make([]*conn, 0, len(n.hearers))
	after := make([]uint64, 0, len(n.hearers))
	for c, seq := range n.hearers {
		hearers, after = append(hearers, c), append(after, seq)
	}
	n.mu.Unlock()

	for _, e := range events {
		n.encode(e)
	}
	for i, c := range hearers {
		for _, e := range events {
			if e.seq > after[i] && e.isFor(c) && e.frame != nil {
				c.out.addNews(e)
			}
		}
	}

	n.mu.Lock()
	n.telling = false
	more := len(n.waiting) > 0
	n.mu.Unlock()
	if more {
		n.room.broker.spawn(n.tell) // the caller has its own work to do
	}
}

// isFor reports whether a connection is told of the event.
func (e *event) isFor(c *conn) bool {
	return c.present != e.about && (e.own || c.member != e.member) && !slices.Contains(e.but, c.present)
}

func (n *news) encode(e *event) {
	frame, err := json.Marshal(wire.SystemPush{
		Type: wire.TypePush, Subtype: wire.SubtypeSystem, Event: e.kind, EventData: e.data, MessageID: uuid.NewString(),
		MeshID: n.room.id, SenderPubkey: "system", Priority: wire.Low, CreatedAt: wire.Time{Time: e.at},
	})
	if err != nil {
		n.room.broker.log.Error("encoding a system push failed", zap.Error(err))
		return
	}
	e.frame = frame
}

// notifySoonLocked schedules notify, if there is anybody to tell.
func (n *news) notifySoonLocked() {
	if len(n.keepers) > 0 && !n.soon {
		n.soon = true
		n.room.broker.wait.Add(1) // a keeper is a connection, which is counted as well
		time.AfterFunc(newsDelay, n.notify)
	}
}

// notify tells keepers that the roster has changed, a few at a time. Each is told once, until
// it asks for the roster.
func (n *news) notify() {
	defer n.room.broker.wait.Done()
	n.mu.Lock()
	n.soon = false
	var due []*conn
	for c, version := range n.keepers {
		if version >= n.changed {
			continue
		}
		if len(due) == noticesAtOnce {
			n.notifySoonLocked()
			break
		}
		due = append(due, c)
		delete(n.keepers, c)
	}
	if len(n.keepers) == 0 {
		n.keepers = nil // a map never shrinks
	}
	version := n.room.versionText(n.changed)
	n.mu.Unlock()
	if len(due) == 0 {
		return
	}
	frame, err := json.Marshal(wire.RosterChanged{Type: wire.TypeRosterChanged, Version: version})
	if err != nil {
		n.room.broker.log.Error("encoding roster_changed failed", zap.Error(err))
		return
	}
	for _, c := range due {
		c.out.add(frame)
	}
}

// reduce reduces the news about each presence to their net effect, and keeps the order: nothing
// for one that came and went, the last of several profiles, and whether it is here and visible
// in the end. It returns list, shortened. of returns an element's event, or nil if the element
// carries none.
func reduce[T any](list []T, of func(T) *event) []T {
	type fate struct {
		came    bool // the receiver does not know the presence yet
		here    bool // in the end, it is here and visible
		arrival int  // index of its peer_joined or peer_returned; -1 for none
		last    int  // index of the last event that tells whether it is here
		profile int  // index of its last profile
	}
	fates := make(map[*presence.Presence[*conn]]*fate)
	for i := range list {
		e := of(list[i])
		if e == nil {
			continue
		}
		f := fates[e.about]
		if f == nil {
			f = &fate{here: true, arrival: -1, last: -1, profile: -1}
			fates[e.about] = f
		}
		if e.kind == wire.EventProfileUpdated {
			f.profile = i
			continue
		}
		if f.last < 0 {
			f.came = e.shows()
		}
		if e.arrives() {
			f.arrival = i
		}
		f.last, f.here = i, e.shows()
	}
	kept := list[:0]
	for i, x := range list {
		e := of(x)
		if e == nil {
			kept = append(kept, x)
			continue
		}
		f := fates[e.about]
		keep := i == f.last && !f.came
		if f.here {
			keep = i == f.profile || i == f.arrival || i == f.last && f.arrival < 0
		}
		if keep {
			kept = append(kept, x)
		}
	}
	clear(list[len(kept):])
	return kept
}

// arrives reports whether the event is an arrival.
func (e *event) arrives() bool {
	return e.kind == wire.EventPeerJoined || e.kind == wire.EventPeerReturned
}

// shows reports whether a presence is visible after the event.
func (e *event) shows() bool { return e.arrives() || e.kind == wire.EventPeerVisible }
