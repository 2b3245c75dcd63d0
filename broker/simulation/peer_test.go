package simulation

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// member is a person with a key, in one mesh.
type member struct {
	mesh wire.ID
	id   wire.ID
	keys identity.KeyPair
}

// peer is a session, or a daemon, of a member. The world's lock guards its fields.
type peer struct {
	world  *world
	name   string
	member *member
	keys   identity.KeyPair // of the session; zero: a daemon
	addr   netip.Addr
	conns  []*conn // not ended, oldest first
	mood   mood
	lastTS int64 // of its last hello, in Unix ms
	met    bool  // it has been here, so its key stays known

	cutAt   time.Time // when its last line was cut
	haunted time.Time // when a line was cut whose hello the broker may still serve
	cursed  time.Time // the same, if serving the hello may end the presence

	twin time.Time // until then a daemon may be here twice

	twins   bool // a daemon may have been here twice
	mixed   bool // twins, and the broker may have taken the older one for the newer
	flooded bool // its window may stay full for a long time

	presence presenceModel
	status   statusModel
	groups   map[string]bool
	unsure   map[string]bool // groups that are being changed
	visible  bool
	hiding   int     // changes of visible that have not been confirmed
	succeeds []*peer // as its hello says
	elders   []*peer // sessions that it has ever succeeded
	intents  []*intent
}

// mood is the way in which a peer acknowledges.
type mood int

const (
	diligent mood = iota // at once
	moody                // half of the messages at once, some of the others when they come again
	lazy                 // only in the steps that say so
)

func (p *peer) daemon() bool { return p.keys.IsZero() }

// key is the key under which others see the peer.
func (p *peer) key() wire.Key {
	if p.daemon() {
		return p.member.keys.Public()
	}
	return p.keys.Public()
}

// identity names the peer's presence and its mailbox.
func (p *peer) identity() presence.Identity {
	if p.daemon() {
		return presence.HostIdentity(p.member.keys.Public(), "host-"+p.name)
	}
	return presence.SessionIdentity(p.keys.Public())
}

// conn is one connection of a peer.
type conn struct {
	peer *peer
	link *link
	born time.Time

	hello    time.Time // when the hello was sent; zero: not sent
	wrong    bool      // the broker must refuse the hello
	possible bool      // the presence may have been here when the hello was sent
	before   wire.ID   // the peer's presence when the hello was sent
	acked    time.Time // when hello_ack came
	polite   bool      // the client has hung up
	left     time.Time // when it has hung up
	gone     bool      // vanished
	replaced bool      // another connection has its presence
	ended    bool
	stray    bool   // the peer has left it, but still reads from it
	reason   string // of the broker's close frame
	frozen   bool
	since    time.Time // when it was last frozen
	thawed   time.Time

	pushed    map[wire.ID]*pushed
	last      map[orderKey]int // index of the newest message pushed, by sender and mailbox
	requests  map[string]time.Time
	sends     map[string]sent // the requests that are messages
	tracks    map[string]bool // the requests for the status of a message
	effects   []func()        // to run once the broker has served everything before the next sync
	synced    int             // how many effects wait for the sync that is under way
	serial    int
	groups    map[string]bool         // that the hello named
	rosters   map[string]*rosterQuery // by request
	lastAck   int                     // number of the newest send that has its ack
	hidingReq string                  // the newest set_visible
}

// pushed is a message that came over a connection.
type pushed struct {
	intent *intent
	at     time.Time // of the last push
	times  int
	acked  bool
}

// forsaken reports whether c, before it thawed, read nothing for so long that the broker may have
// given it up.
func (c *conn) forsaken() bool { return c.thawed.After(c.since.Add(silence - margin)) }

// alive reports whether c can receive anything from the broker.
func (c *conn) alive() bool { return !c.ended && !c.gone && !c.acked.IsZero() }

// current returns the connection that has the peer's presence, nil for none.
func (p *peer) current() *conn {
	for i := len(p.conns) - 1; i >= 0; i-- {
		if c := p.conns[i]; !c.ended && !c.acked.IsZero() && !c.replaced {
			return c
		}
	}
	return nil
}

// latest returns the newest connection, nil for none.
func (p *peer) latest() *conn {
	if len(p.conns) == 0 {
		return nil
	}
	return p.conns[len(p.conns)-1]
}

// dialLocked opens a connection and reads from it.
func (p *peer) dialLocked() *conn {
	w := p.world
	c := &conn{
		peer: p, link: newLink(), born: time.Now(), pushed: make(map[wire.ID]*pushed), last: make(map[orderKey]int),
		requests: make(map[string]time.Time), rosters: make(map[string]*rosterQuery),
		sends: make(map[string]sent), tracks: make(map[string]bool),
	}
	if err := w.broker.ServeWebSocket(upgrade{make(map[string][]string), c.link}, upgradeRequest(), p.addr); err != nil {
		c.link.cut(true) // shutting down
	}
	p.conns = append(p.conns, c)
	w.clients.Go(c.read)
	return c
}

// read handles frames until the connection ends.
func (c *conn) read() {
	r := bufio.NewReaderSize(c.link, 1<<10)
	for {
		op, payload, err := decodeFrame(r)
		if err != nil {
			c.end("")
			return
		}
		switch op {
		case opPing:
			c.link.write(encodeFrame(opPong, payload))
		case opClose:
			c.link.write(encodeFrame(opClose, payload[:min(2, len(payload))]))
			reason := "-"
			if len(payload) >= 2 {
				reason = fmt.Sprint(binary.BigEndian.Uint16(payload), " ", string(payload[2:]))
			}
			c.end(reason)
			return
		case opText:
			c.receive(payload)
		}
	}
}

// sendLocked writes a message, and records it as a request if the broker must answer it.
func (c *conn) sendLocked(message map[string]any, answered bool) {
	if c.ended || c.polite {
		return
	}
	if answered {
		c.serial++
		id := fmt.Sprint("r", c.serial)
		message["_reqId"] = id
		c.requests[id] = time.Now()
	}
	c.write(message)
}

func (c *conn) write(message map[string]any) {
	data, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	c.link.write(encodeFrame(opText, data))
}

// sync sends a request whose answer proves that the broker has served everything before it.
func (c *conn) sync() bool {
	if !c.alive() || c.polite || c.frozen || c.synced > 0 || len(c.effects) == 0 {
		return false
	}
	c.synced = len(c.effects)
	c.requests["sync"] = time.Now()
	c.sendLocked(map[string]any{"type": "no_such_type", "_reqId": "sync"}, false)
	return true
}

func (c *conn) answered(reqID string) {
	if reqID == "sync" {
		for _, certain := range c.effects[:c.synced] {
			certain()
		}
		c.effects, c.synced = c.effects[c.synced:], 0
	}
	delete(c.requests, reqID)
	delete(c.tracks, reqID)
}

// signed caches signatures. Time begins anew in each schedule, so many schedules sign the same
// texts.
var signed sync.Map

func cached[T any](key string, make func() T) T {
	if v, ok := signed.Load(key); ok {
		return v.(T)
	}
	v := make()
	signed.Store(key, v)
	return v
}

// helloMessage returns a hello of p with the timestamp now.
func (p *peer) helloMessage(now time.Time) map[string]any {
	now = now.Truncate(time.Millisecond)
	for now.UnixMilli() <= p.lastTS { // a hello is accepted only once, so two in one moment need different timestamps
		now = now.Add(time.Millisecond)
	}
	p.lastTS = now.UnixMilli()
	m := p.member
	message := map[string]any{
		"meshId": m.mesh.String(), "sessionId": "sid-" + p.name, "pid": 1000, "cwd": "/" + p.name, "displayName": p.name,
		"hostname": "host-" + p.name, "groups": p.groupList(), "capabilities": []string{wire.CapCaughtUp},
	}
	if p.daemon() {
		ts, sig := identity.SignHello(m.keys, m.mesh.String(), m.id.String(), now)
		message["type"], message["memberId"], message["pubkey"] = wire.TypeHello, m.id.String(), m.keys.Public().String()
		message["timestamp"], message["signature"] = ts, sig.String()
		return message
	}
	a := cached(fmt.Sprint("attest", m.keys.Public(), p.keys.Public()), func() identity.Attestation {
		return identity.Attest(m.keys, p.keys.Public(), epoch.Add(20*time.Hour))
	})
	ts, sig := identity.SignSessionHello(p.keys, m.mesh.String(), m.keys.Public(), now)
	message["type"], message["parentMemberPubkey"], message["sessionPubkey"] = wire.TypeSessionHello, m.keys.Public().String(), p.keys.Public().String()
	message["timestamp"], message["signature"] = ts, sig.String()
	message["parentAttestation"] = map[string]any{
		"sessionPubkey": p.keys.Public().String(), "parentMemberPubkey": m.keys.Public().String(),
		"expiresAt": a.ExpiresAt, "signature": a.Signature.String(),
	}
	var list []map[string]any
	for _, old := range p.succeeds {
		sig := cached(fmt.Sprint("succeed", m.mesh, old.keys.Public(), p.keys.Public()), func() wire.Signature {
			return identity.SignSuccession(old.keys, m.mesh.String(), p.keys.Public())
		})
		list = append(list, map[string]any{"sessionPubkey": old.keys.Public().String(), "signature": sig.String()})
	}
	if list != nil {
		message["succeeds"] = list
	}
	return message
}

func (p *peer) groupList() []map[string]string {
	var list []map[string]string
	for _, g := range groupNames {
		if p.groups[g] {
			list = append(list, map[string]string{"name": g})
		}
	}
	return append(list, map[string]string{"name": "of-" + p.name})
}
