package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/storage"
)

// The advisory locks, which have the scope of the database. The numbers are
// arbitrary, but for that of the commits, which require_claim has too.
const (
	brokerLock  = 7161127435829133826
	commitLock  = 7161127435829133827
	migrateLock = 7161127435829133828
)

const (
	// keepEvery is how often the claim's connection is looked after.
	keepEvery = 2 * time.Second
	// answerWithin is how long the server may take to answer there.
	answerWithin = 5 * time.Second
)

// errLost says that somebody else has claimed the database since we did.
var errLost = errors.New("claim lost")

// claim is a claim that a goroutine looks after.
type claim struct {
	conn  *pgx.Conn     // owned by the goroutine
	ended chan struct{} // closed when it has ended, and the connection is closed
}

// Claim takes the database for this process until Close; see the package comment.
// It returns storage.ErrInUse when another Store has it, and a
// *storage.NewerSchemaError when it belongs to a newer broker. Claiming what is
// ours already does nothing.
func (s *Store) Claim(ctx context.Context) error {
	ctx, done := s.scope(ctx)
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.life.Err(); err != nil {
		return fmt.Errorf("claim database: store is closed: %w", err)
	}
	if s.claim != nil {
		select {
		case <-s.claim.ended: // lost
		default: // ours, or lost without the loop's having found out
			_, err := s.pool.Exec(ctx, `SELECT claudemesh.require_claim($1)`, s.epoch.Load())
			return wrap("claim database", err)
		}
	}
	conn, err := s.lock(ctx)
	if err != nil {
		return wrap("claim database", err)
	}
	epoch, err := advance(ctx, conn)
	if err != nil {
		disconnect(conn)
		return wrap("claim database", err)
	}
	s.epoch.Store(epoch)
	s.claim = &claim{conn: conn, ended: make(chan struct{})}
	go s.keepLoop(s.claim, epoch)
	return nil
}

// lock connects and takes the broker's lock, or returns storage.ErrInUse.
func (s *Store) lock(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	// When this machine dies or its network does, the server should notice within a
	// minute and not after the two hours that are usual: until then nobody else gets
	// the lock.
	err = set(ctx, conn, map[string]string{
		"tcp_keepalives_idle": "20", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "4",
	})
	var got bool
	if err == nil {
		err = conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(brokerLock)).Scan(&got)
	}
	if err == nil && !got {
		err = storage.ErrInUse
	}
	if err != nil {
		disconnect(conn)
		return nil, err
	}
	return conn, nil
}

// advance starts a new epoch, once the commits under way have ended.
func advance(ctx context.Context, conn *pgx.Conn) (epoch int64, err error) {
	if err := bootstrap(ctx, conn); err != nil {
		return 0, err
	}
	if found, err := schemaVersion(ctx, conn); err != nil {
		return 0, err
	} else if found > len(migrations) {
		return 0, &storage.NewerSchemaError{Found: found, Known: len(migrations)}
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(commitLock)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `UPDATE claudemesh.claim SET epoch = epoch + 1 WHERE id = 1 RETURNING epoch`).Scan(&epoch)
	})
	return epoch, err
}

// keepLoop watches the claim's connection and replaces it when it breaks. It ends
// with the store, or when the claim is lost.
func (s *Store) keepLoop(c *claim, epoch int64) {
	defer close(c.ended)
	defer func() { unlock(c.conn) }()
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-tick.C:
		}
		if err := s.keep(c, epoch); errors.Is(err, errLost) {
			return
		}
	}
}

// keep makes sure that the connection is there and has the lock. Any error but
// errLost may go away.
func (s *Store) keep(c *claim, epoch int64) error {
	ctx, cancel := context.WithTimeout(s.life, answerWithin)
	defer cancel()
	if c.conn != nil {
		// The server may have become a standby under the connection, or been one.
		var readOnly bool
		err := c.conn.QueryRow(ctx, `SELECT current_setting('transaction_read_only')::boolean`).Scan(&readOnly)
		if err == nil && !readOnly {
			return nil
		}
		disconnect(c.conn)
		c.conn = nil
	}
	conn, err := s.lock(ctx)
	if err != nil {
		return err
	}
	// Whoever had the lock in between has counted up.
	var found int64
	err = conn.QueryRow(ctx, `SELECT epoch FROM claudemesh.claim WHERE id = 1`).Scan(&found)
	if err == nil && found != epoch {
		err = errLost
	}
	if err != nil {
		disconnect(conn)
		return err
	}
	c.conn = conn
	return nil
}

// unlock gives up the lock that a connection holds and closes it. A server that is
// merely told goodbye may hold the lock a little longer, into the next Claim.
func unlock(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, _ = conn.Exec(ctx, `SELECT pg_advisory_unlock($1)`, int64(brokerLock)) // else it ends with the connection
	disconnect(conn)
}

// disconnect closes a connection, if there is one, without waiting for long.
func disconnect(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // it is of no more use either way
}
