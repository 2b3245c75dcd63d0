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

// trialBytes is the size of the trial message while commits fail: the size of the largest
// message under the default limit. While commits succeed, the trial message is small,
// because each one leaves dead rows behind.
const trialBytes = 64 << 10

// answerSoon limits how long Ping waits on an existing connection, and the pool before it uses a
// connection that has been idle.
const answerSoon = 1500 * time.Millisecond

// health is the state of Ping. It has its own connection, so that a busy pool does not
// look like a failure of the database.
type health struct {
	slot chan struct{} // has one slot, which a check holds
	conn *pgx.Conn     // nil if there is none
	ids  wire.IDSource
}

// Ping checks that a message can be stored now and, if the store has claimed the database,
// that the claim still holds. It stores a message of a mesh that does not exist, rolls
// that back, and commits an update that changes nothing. The server does all of this in
// one round trip, so that no lock waits for us.
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
	if err := s.life.Err(); err != nil { // nobody would close a new connection
		return wrap("check database", err)
	}
	old := h.conn != nil
	err := h.tryLocked(ctx, s)
	if err != nil && old { // the connection may be the cause
		err = h.tryLocked(ctx, s)
	}
	return wrap("check database", err)
}

// tryLocked stores a message, and closes the connection if that fails. The caller holds the
// slot.
func (h *health) tryLocked(ctx context.Context, s *Store) error {
	if h.conn == nil {
		conn, err := s.connect(ctx)
		if err != nil {
			return err
		}
		h.conn = conn
	} else { // an old connection may be dead without notice
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

// close closes the connection. The store's life has ended, which has cancelled running
// operations.
func (h *health) close() {
	h.slot <- struct{}{}
	defer func() { <-h.slot }()
	disconnect(h.conn)
	h.conn = nil
}
