package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

// These are the SQLSTATEs that require_lease and require_meshes raise.
const (
	claimLost  = "CM001"
	leaseOver  = "CM002"
	meshesLost = "CM003"
)

// Store is a Postgres database. All methods are safe for concurrent use.
type Store struct {
	dsn      func() (string, error)
	config   *pgx.ConnConfig
	settings map[string]string // of each connection
	direct   atomic.Bool       // true if no pooler is known to share our connections
	pool     *pgxpool.Pool
	health   health
	failing  atomic.Bool // the last commit failed

	life context.Context // ends with Close and cancels running operations
	end  context.CancelFunc

	// writes has one slot. A transaction that changes deliveries or presences holds it.
	// Two transactions that settle different deliveries of one message must see each
	// other's changes, so that one of them deletes the body when nobody waits for it any
	// more. Also, rows are changed by their ctid, which must not move.
	writes chan struct{}
	swept  atomic.Int64 // Unix ms; nothing older is pending

	self  *cluster.Self // set before Claim; nil: the store has the database alone
	watch watch
	// pulses are those of the nodes that this one may remove.
	pulses pulses
	fresh  meshSet // meshes got since the last sweep
	// elsewhere says that the node's address leads to something else, or is unproven.
	elsewhere atomic.Bool
	// hurry ends the pause before a renewal of the lease, or was for an earlier pause.
	hurry atomic.Pointer[context.CancelFunc]
	// clockAhead is how far this node's clock is ahead of the database's, in ns; 0 unless it
	// is wrong.
	clockAhead atomic.Int64
	wall       func() time.Time // this node's clock

	mu        sync.Mutex            // held by Claim
	lease     atomic.Pointer[lease] // the current or last lease of the database; nil: never claimed
	candidacy candidacy             // guarded by mu
}

// Open parses a DSN, which is a URL or key=value pairs as libpq accepts them. It does not
// connect: the store connects when it needs a connection, and again after an outage.
// Errors do not contain the DSN's password.
func Open(dsn string) (*Store, error) {
	return OpenWith(func() (string, error) { return dsn, nil })
}

// OpenWith is like Open, but calls a function for the DSN now and before each connection.
// The user, the password and the hosts in the DSN may change.
func OpenWith(dsn func() (string, error)) (*Store, error) {
	text, err := dsn()
	if err != nil {
		return nil, fmt.Errorf("read dsn: %w", err)
	}
	config, err := parse(text)
	if err != nil {
		return nil, err
	}
	s := &Store{dsn: dsn, config: config.ConnConfig, writes: make(chan struct{}, 1), wall: time.Now}
	s.settings = settingsOf(s.config)
	s.health.slot = make(chan struct{}, 1)
	config.BeforeConnect, config.AfterConnect, config.PrepareConn = s.beforeConnect, s.afterConnect, usable
	config.MinConns = 0
	if !strings.Contains(text, "pool_max_conns") {
		config.MaxConns = poolSize
	}
	if config.PingTimeout == 0 { // a ping may otherwise outlive its caller by a minute
		config.PingTimeout = answerSoon
	}
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close cancels running operations, closes all connections, and gives up the claim.
func (s *Store) Close() error {
	s.end()
	s.mu.Lock()
	l := s.lease.Load()
	s.removeCandidateLocked()
	s.mu.Unlock()
	if l != nil {
		<-l.ended
	}
	s.health.close()
	s.pool.Close()
	return nil
}

// scope limits ctx to the life of the store.
func (s *Store) scope(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// exclusive is scope for operations that hold the slot of writes until done is called.
func (s *Store) exclusive(ctx context.Context) (_ context.Context, done context.CancelFunc, err error) {
	ctx, cancel := s.scope(ctx)
	select {
	case s.writes <- struct{}{}:
		return ctx, func() { <-s.writes; cancel() }, nil
	case <-ctx.Done():
		cancel()
		return nil, nil, ctx.Err()
	}
}

const (
	// requireLease begins every transaction that writes, once the database has been
	// claimed. requireMeshes does so if a node of a cluster writes to meshes.
	requireLease  = `SELECT claudemesh.require_lease($1)`
	requireMeshes = `SELECT claudemesh.require_meshes($1, $2)`
)

// fence returns the statement that begins a transaction that writes to meshes, or "" if
// the database has not been claimed.
func (s *Store) fence(meshes []wire.ID) (query string, args []any) {
	l := s.lease.Load()
	switch {
	case l == nil:
		return "", nil
	case !l.shared || len(meshes) == 0:
		return requireLease, []any{l.id}
	}
	return requireMeshes, []any{l.id, uuids(meshes, func(id wire.ID) wire.ID { return id })}
}

// batch starts the pipeline of a transaction that writes to meshes.
func (s *Store) batch(meshes ...wire.ID) *pgx.Batch {
	b := &pgx.Batch{}
	if query, args := s.fence(meshes); query != "" {
		b.Queue(query, args...)
	}
	return b
}

// exec runs one statement that writes to meshes.
func (s *Store) exec(ctx context.Context, meshes []wire.ID, query string, args ...any) (tag pgconn.CommandTag, err error) {
	ctx, done := s.scope(ctx)
	defer done()
	b := s.batch(meshes...)
	b.Queue(query, args...).Exec(func(t pgconn.CommandTag) error { tag = t; return nil })
	err = s.pool.SendBatch(ctx, b).Close()
	return tag, err
}

// row runs a query that returns one row.
func (s *Store) row(ctx context.Context, scan func(pgx.Row) error, query string, args ...any) error {
	ctx, done := s.scope(ctx)
	defer done()
	return scan(s.pool.QueryRow(ctx, query, args...))
}

// collect reads all rows of a query.
func collect[T any](ctx context.Context, s *Store, scan func(column.Row) (T, error), query string, args ...any) ([]T, error) {
	ctx, done := s.scope(ctx)
	defer done()
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return column.Collect(rows, scan)
}

// wrap adds to err, if it is not nil, what the store was doing, and the reason if it is
// known.
func wrap(doing string, err error) error {
	var e *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e.Code == claimLost:
		return fmt.Errorf("%s: %w", doing, storage.ErrInUse)
	case errors.As(err, &e) && e.Code == leaseOver:
		return fmt.Errorf("%s: %w", doing, storage.ErrSuspended)
	case errors.As(err, &e) && e.Code == meshesLost:
		return fmt.Errorf("%s: %w", doing, &journal.LostError{Meshes: lostMeshes(e)})
	}
	return fmt.Errorf("%s: %w", doing, &storage.Fault{Reason: reasonOf(err), Err: err})
}

// violated reports whether err comes from the server with this SQLSTATE.
func violated(err error, code string) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == code
}

const (
	uniqueViolation       = "23505"
	foreignKeyViolation   = "23503"
	insufficientPrivilege = "42501"
	undefinedTable        = "42P01"
	undefinedColumn       = "42703"
)
