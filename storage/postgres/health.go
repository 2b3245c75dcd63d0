package postgres

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// trialBytes is the size of the trial message while commits fail: that of the largest
// message of the default limit. While all is well a small one does, since each leaves
// dead rows behind.
const trialBytes = 64 << 10

// answerSoon is how long Ping waits on a connection that it has.
const answerSoon = 1500 * time.Millisecond

// health is what Ping works with. It has a connection of its own, so that a busy pool
// says nothing about the database.
type health struct {
	slot chan struct{} // of size 1: taken by who asks
	conn *pgx.Conn     // nil: to be made
	ids  wire.IDSource
}

// Ping tells whether a message could be stored now, and the database is still ours if
// we claimed it. It stores one, of a mesh that does not exist, takes that back, and
// commits a change that changes nothing; the server does all of it by itself, so that no
// lock waits for us.
func (s *Store) Ping(ctx context.Context) error {
	ctx, done := s.scope(ctx)
	defer done()
	h := &s.health
	select {
	case h.slot <- struct{}{}:
		defer func() { <-h.slot }()
	case <-ctx.Done():
		return wrap("check database", ctx.Err())
	}
	old := h.conn != nil
	err := h.try(ctx, s)
	if err != nil && old { // it may be the connection
		err = h.try(ctx, s)
	}
	return wrap("check database", err)
}

// try stores a message, and lets go of the connection when that fails. The caller has the
// slot.
func (h *health) try(ctx context.Context, s *Store) error {
	if h.conn == nil {
		conn, err := s.connect(ctx)
		if err != nil {
			return err
		}
		h.conn = conn
	} else { // which may be dead without a sign
		short, cancel := context.WithTimeout(ctx, answerSoon)
		defer cancel()
		ctx = short
	}
	size := 1
	if s.failing.Load() {
		size = trialBytes
	}
	body := make([]byte, (size+1)/2)
	rand.Read(body) // never fails
	now := time.Now()
	m := queue.Message{ID: h.ids.New(now), Priority: wire.Low, CreatedAt: now, Ciphertext: hex.EncodeToString(body)[:size]}
	m.MeshID, m.SenderMember = m.ID, m.ID
	p := s.batch()
	p.Queue(`BEGIN`)
	queueMessages(p, []*queue.Accepted{{Message: m,
		Recipients: []queue.Recipient{{Seq: math.MaxInt64, Mailbox: queue.Mailbox{Mesh: m.MeshID, Name: "trial"}}}}})
	entry, _ := audit.Extend(audit.Head{}, audit.NewEvent(m.MeshID, now, audit.Broker, audit.RoutedDetail{Message: m.ID}))
	queueAudit(p, []audit.Entry{entry})
	p.Queue(`ROLLBACK`)
	p.Queue(`UPDATE claudemesh.schema_version SET applied_at = applied_at WHERE version = 1`)
	err := h.conn.SendBatch(ctx, p).Close()
	if err != nil {
		disconnect(h.conn)
		h.conn = nil
	}
	return err
}

// close ends the connection. The store's life has ended, and with it what was under way.
func (h *health) close() {
	h.slot <- struct{}{}
	defer func() { <-h.slot }()
	disconnect(h.conn)
	h.conn = nil
}
