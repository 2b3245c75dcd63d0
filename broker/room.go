package broker

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// room is one mesh in memory: its presences, the connections they are on, and the
// mailboxes that those serve.
type room struct {
	broker  *Broker
	id      wire.ID
	members *mesh.View
	queue   *queue.Mesh
	rates   *limiters[wire.ID] // sends, by member
	copies  *copyRights
	epoch   string // random, new each time the mesh is loaded
	news    news

	mu        sync.RWMutex
	presences *presence.Room[*conn]
	closed    bool               // forgotten: load the mesh again
	leaving   atomic.Bool        // it lets nobody in; written under mu
	empty     time.Time          // since when the room has been empty; zero if it is not
	rechecked time.Time          // see Broker.recheckSessions; owned by the sweep of the storage
	guests    map[*conn]struct{} // transient connections
	// serving holds, by name, the connections of mailboxes that they serve besides their
	// presence's own.
	serving map[string]*conn
	// untold are changes that are announced once a second.
	untold map[*presence.Presence[*conn]]untold
}

// join makes c a presence and attaches its mailboxes. In this order, c gets its hello_ack, the
// others are told, and c gets what waited and then what arrives.
func (r *room) join(c *conn, a *presence.Arrival[*conn], ack *wire.HelloAck, now time.Time) error {
	fresh, err := r.recall(a)
	if err != nil {
		return err
	}
	if fresh {
		if err := c.account.admitNewcomer(r.broker.Settings(), now); err != nil {
			c.pause(patience)
			return tryLater(err.Error())
		}
	}
	if err := r.introduce(a, now); err != nil {
		return err
	}
	if err := r.seat(c, a, ack, now); err != nil {
		return err
	}
	c.CaughtUp() // joining itself counts as one mailbox
	return nil
}

// seat is the part of join that needs the room's lock.
func (r *room) seat(c *conn, a *presence.Arrival[*conn], ack *wire.HelloAck, now time.Time) error {
	r.mu.Lock()
	defer r.unlock()
	if err := r.admissibleLocked(a); err != nil {
		return err
	}
	joined, err := r.presences.Join(a, r.broker.Settings().MaxConnectionsPerMesh, now)
	switch {
	case errors.Is(err, presence.ErrCapacity):
		return errCapacity
	case errors.Is(err, presence.ErrKeyTaken):
		return reject(wire.CodeKeyTaken, "sessionPubkey belongs to a session that has proven it")
	case err != nil: // presence.ErrOvertaken
		return err
	}
	p := joined.Presence
	c.room, c.present, c.others = r, p, r.othersLocked(p)
	ack.PresenceID = p.ID
	if restored := joined.Restored; restored != nil && !a.Proven {
		ack.Restored, ack.LastSummary, ack.RestoredGroups, ack.RestoredStats = true, restored.Summary, restored.Groups, restored.Stats
		ack.LastSeenAt = &wire.Time{Time: restored.LastSeenAt}
	}
	c.send(ack)
	r.news.admit(c, joined.OldConn, r.presences.Version())
	for _, old := range joined.Ended {
		r.replacedLocked(old, p)
	}
	if joined.How == presence.New {
		r.announceArrivalLocked(p, joined.Restored)
	}
	if joined.How == presence.Replaced && joined.OldConn != c {
		joined.OldConn.end(endReplaced, wire.CloseNormal, wire.ReasonReplaced)
	}
	if d := joined.Displaced; d != nil {
		d.Conn.out.ping() // its socket is often dead already
		d.Conn.catching.Add(1)
		r.broker.queue.Attach(r.mailboxLocked(d), d.Conn, presence.UrgentOnly(d.Status))
	}
	c.catching.Store(2) // c's own mailbox, and joining
	r.broker.queue.Attach(r.mailboxLocked(p), c, presence.UrgentOnly(p.Status))
	r.resettleLocked(p)
	r.reassignHeritageLocked(joined.Released)
	if !joined.Left.IsZero() {
		r.rehomeLocked(joined.Left)
	}
	for _, old := range joined.Ended {
		r.resettleLocked(old.Presence)
	}
	if joined.StatusChanged {
		r.regateLocked(p)
	}
	r.broker.stats.joins.Add(1)
	r.saveLocked()
	return nil
}

// unlock unlocks r.mu, and hands out what was announced under it.
func (r *room) unlock() {
	r.mu.Unlock()
	r.news.tell()
}

// introduce stores a session key that is new to the mesh before others are told of it. From then
// on it is an address, and a broker that has crashed must still know it.
func (r *room) introduce(a *presence.Arrival[*conn], now time.Time) error {
	r.mu.RLock()
	_, known := r.presences.Known(a.SessionKey)
	r.mu.RUnlock()
	if !a.Proven || known {
		return nil
	}
	ctx, cancel := r.broker.storageContext()
	defer cancel()
	err := r.broker.journal.SaveNow(ctx, presence.Record{
		MeshID: r.id, Identity: presence.SessionIdentity(a.SessionKey), ID: a.ID, MemberID: a.MemberID, MemberKey: a.MemberKey,
		SessionKey: a.SessionKey, Proven: true, Role: wire.RoleSession, DisplayName: a.DisplayName, Status: wire.Idle,
		Source: presence.JSONL, StatusAt: now, Visible: true, ConnectedAt: now, LastSeenAt: now, EndedAt: now,
	})
	if errors.Is(err, journal.ErrMoved) {
		return errRoomClosed
	}
	return err
}

// admissibleLocked checks what may have changed since the handshake: the broker may have been
// suspended while it read from the storage, and the member may have been removed.
func (r *room) admissibleLocked(a *presence.Arrival[*conn]) error {
	if err := r.broker.storage.Claimed(); err != nil {
		return err
	}
	if r.closed || r.leaving.Load() {
		return errRoomClosed
	}
	if m, ok := r.members.Member(a.MemberKey); !ok || m.Removed() {
		return r.revoked(m)
	}
	if _, taken := r.members.Member(a.SessionKey); taken && !a.Proven {
		return reject(wire.CodeKeyTaken, "sessionPubkey is a member's key")
	}
	return nil
}

// revoked refuses a member that was removed. m may be nil.
func (r *room) revoked(m *mesh.Member) error {
	message := fmt.Sprintf("You've been removed from %q. Contact the mesh owner to rejoin.", r.members.Mesh().Name)
	if m != nil && m.BanReason != "" {
		message += " Reason: " + m.BanReason
	}
	return &rejection{
		code:    wire.CodeRevoked,
		message: message,
		close:   wire.CloseBanned, reason: wire.ReasonBanned,
	}
}

// errRoomClosed says that the room was forgotten while a connection was about to join.
var errRoomClosed = errors.New("the room was forgotten")

// admitGuest takes a transient connection.
func (r *room) admitGuest(c *conn, a *presence.Arrival[*conn], ack *wire.HelloAck) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.admissibleLocked(a); err != nil {
		return err
	}
	if r.presences.Len()+len(r.guests) >= r.broker.Settings().MaxConnectionsPerMesh {
		return errCapacity
	}
	r.guests[c] = struct{}{}
	c.room = r
	c.send(ack)
	return nil
}

// recall reads what is stored of an arrival's earlier presence, or else of the newest session
// that it succeeds. An arrival is fresh if nothing is stored yet, and something will be.
func (r *room) recall(a *presence.Arrival[*conn]) (fresh bool, err error) {
	r.mu.RLock()
	plan := r.presences.Plan(a)
	r.mu.RUnlock()
	if !plan.New || !plan.Identity.Returns() {
		return false, nil
	}
	if a.Last, err = r.lastRecord(plan.Identity); err != nil || a.Last != nil {
		return false, err
	}
	if len(a.Succeeds) > 0 {
		a.Elder, err = r.lastRecord(presence.SessionIdentity(a.Succeeds[0]))
	}
	return true, err
}

// lastRecord returns the stored record of an identity, or nil.
func (r *room) lastRecord(id presence.Identity) (*presence.Record, error) {
	last, ok := r.broker.journal.Presence(r.id, id) // it may not be stored yet
	if !ok {
		ctx, cancel := r.broker.storageContext()
		defer cancel()
		var err error
		if last, ok, err = r.broker.storage.LastPresence(ctx, r.id, id); err != nil {
			return nil, err
		}
	}
	if !ok || introduced(&last) {
		return nil, nil
	}
	return &last, nil
}

// introduced reports whether a record is only what introduce has stored: no connection with its
// key has joined yet.
func introduced(last *presence.Record) bool {
	return last.Proven && last.Attestation == nil && last.EndedAt.Equal(last.ConnectedAt) && last.EndedAt.Equal(last.LastSeenAt)
}

// part removes a connection from the room. After a clean close its presence ends, otherwise it is
// leased.
func (r *room) part(c *conn, clean bool) {
	r.news.forget(c)
	r.mu.Lock()
	defer r.unlock()
	p := c.present
	if p == nil {
		delete(r.guests, c)
		return
	}
	now := time.Now()
	switch {
	case clean:
		if r.presences.Leave(p, c, now) {
			r.departedLocked(p)
		}
	default:
		if r.presences.Drop(p, c, now, r.broker.Settings().PresenceLease) == presence.Left {
			r.departedLocked(p)
		}
	}
	r.resettleLocked(p)
	r.broker.queue.Detach(r.mailboxLocked(p), c) // does nothing if an heir has the mailbox by now
	r.saveLocked()
}

// saveLocked gives changed presences to the journal, unless the room is forgotten: then the
// mesh may be loaded again, here or by another node.
func (r *room) saveLocked() {
	if changed := r.presences.TakeDirty(); !r.closed {
		r.broker.journal.Save(changed)
	}
}

// saveRooms gives the changed presences of all rooms to the journal.
func (b *Broker) saveRooms() {
	for _, r := range b.allRooms() {
		r.mu.Lock()
		r.saveLocked()
		r.mu.Unlock()
	}
}
