package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/internal/column"
)

const (
	// leaseTime is how long a node holds the database after it last renewed its lease,
	// unless its configuration says otherwise.
	leaseTime = 3 * time.Second
	// renewEvery is the pause between renewals of the lease, and renewAgain the pause
	// after a failed renewal.
	renewEvery = time.Second
	renewAgain = 100 * time.Millisecond
	// renewWithin limits how long the server may take to answer on a working connection,
	// and reconnectWithin how long a new connection may take.
	renewWithin     = time.Second
	reconnectWithin = 5 * time.Second
	// leaveWithin limits how long giving up the lease may take.
	leaveWithin = time.Second
)

// lease is this process's lease of the database: a row of the table nodes, which a
// goroutine renews.
type lease struct {
	id     int64         // also the key of its advisory lock; see require_lease
	shared bool          // a node of a cluster; otherwise the database belongs to this process alone
	until  atomic.Int64  // when the lease ends at the earliest, by system.Uptime, in ns
	back   atomic.Int64  // when this node last began to spare others, by the same clock; see spares
	count  atomic.Int64  // how many renewals the row had counted at the last one; set after until and back
	drains atomic.Bool   // the node is to give all of its meshes away
	moves  atomic.Bool   // it is to give some of them away
	lost   chan struct{} // closed when the database is lost
	cause  error         // why it is lost; set before lost is closed
	ended  chan struct{} // closed when the goroutine has ended

	aside    bool   // the row says that the node's address leads elsewhere; owned by the goroutine
	clockOff bool   // the clock seemed to be wrong at the last renewal; owned by the goroutine
	server   string // the address of the server that last answered; owned by the goroutine
}

const (
	// renewLease does nothing if the row has been renewed less often than this node knows. It
	// also tells what the node is asked to do.
	renewLease = `UPDATE claudemesh.nodes n SET lease_until = clock_timestamp() + $2::interval, renewals = renewals + 1,
			elsewhere = $4, clock_off = $5, clock_ahead = $6::timestamptz - clock_timestamp()
		WHERE id = $1 AND renewals >= $3
		RETURNING (SELECT was.lease_until <= clock_timestamp() FROM claudemesh.nodes was WHERE was.id = n.id), renewals, clock_ahead, draining OR elsewhere OR clock_off,
			EXISTS (SELECT FROM claudemesh.mesh_owners o WHERE o.node_id = n.id AND o.moves_to IS NOT NULL OFFSET 0)`
	nodeExists = `SELECT EXISTS (SELECT FROM claudemesh.nodes WHERE id = $1)`
)

// Cluster makes the store a node of a cluster, instead of the only broker of the database.
// Call it before Claim.
func (s *Store) Cluster(self cluster.Self) { s.self = &self }

// term is how long the lease runs after a renewal.
func (s *Store) term() time.Duration {
	if s.self == nil {
		return leaseTime
	}
	return cmp.Or(s.self.Lease, leaseTime)
}

// Claim claims the database for this process until Close, or joins the cluster; see the
// package comment. It upgrades the schema first. It returns storage.ErrInUse if another
// broker has the database, or has this node's address. If this process already has it, Claim does nothing.
func (s *Store) Claim(ctx context.Context) error {
	ctx, done := s.scope(ctx)
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.life.Err(); err != nil {
		return fmt.Errorf("claim database: store is closed: %w", err)
	}
	err := s.claimLocked(ctx)
	if errors.Is(err, storage.ErrInUse) {
		s.publishCandidateLocked(ctx, err)
	}
	return wrap("claim database", err)
}

func (s *Store) claimLocked(ctx context.Context) error {
	if l := s.lease.Load(); l != nil {
		if !l.isLost() {
			if _, err := s.exec(ctx, nil, `SELECT 1`); !violated(err, claimLost) {
				return err
			}
		}
		select { // renewLoop notices the loss too, and ends
		case <-l.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	nodes, err := s.watched(ctx, s.pool, clusterNodes)
	if err == nil {
		err = s.refuseLive(nodes) // a waiting broker asks often, so check before opening a connection
	}
	if err != nil {
		return err
	}
	conn, err := s.connectLease(ctx)
	if err != nil {
		return err
	}
	l := &lease{id: rand.Int64(), shared: s.self != nil, lost: make(chan struct{}), ended: make(chan struct{})}
	if err := locked(ctx, conn, func(tx pgx.Tx) error { return s.join(ctx, tx, l) }); err != nil {
		disconnect(conn)
		return err
	}
	s.candidacy = candidacy{} // join has removed the row
	s.lease.Store(l)
	go s.renewLoop(l, conn) // Close ends it, or the loss of the database; Close and the next Claim wait for it
	return nil
}

// Claimed returns nil while the database certainly belongs to this process, or was never
// claimed. It returns storage.ErrSuspended while another broker may claim the database,
// and an error for which storage.IsLost is true once the database is lost. It does not ask
// the database.
func (s *Store) Claimed() error {
	l := s.lease.Load()
	switch {
	case l == nil:
		return nil
	case l.isLost():
		return l.cause
	case int64(system.Uptime()) >= l.until.Load():
		return storage.ErrSuspended
	}
	return nil
}

// join inserts the row of a new node, if no other node is in the way.
func (s *Store) join(ctx context.Context, tx pgx.Tx, l *lease) error {
	if err := checkSchema(ctx, tx); err != nil {
		return err
	}
	others, err := s.watched(ctx, tx, clusterNodes)
	if err == nil {
		err = s.refuseLive(others)
	}
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.Live {
			continue
		}
		if s.self != nil && other.Address != "" && other.Address != s.self.Address {
			l.back.Store(int64(system.Uptime())) // an outage may have just ended: leave it to the reapers
			continue
		}
		if err := s.remove(ctx, tx, other); err != nil {
			return err
		}
	}
	if _, err := tx.Exec(ctx, deleteCandidate, s.candidacy.id); err != nil {
		return err
	}
	host, self := s.publishes()
	l.aside = self.Unproven && slices.ContainsFunc(others, cluster.Node.Takes)
	s.elsewhere.Store(l.aside)
	l.drains.Store(l.aside)
	l.renewed(system.Uptime(), s.term())
	_, err = tx.Exec(ctx, `INSERT INTO claudemesh.nodes (id, lease_until, pid, knows_schema, host, address, public_key, program, clock_ahead, elsewhere)
		VALUES ($1, clock_timestamp() + $2::interval, $3, $4, $5, $6, $7, $8, $9::timestamptz - clock_timestamp(), $10)`, l.id, s.term(),
		os.Getpid(), len(migrations), column.Text(host), column.Text(self.Address), self.PublicKey, column.Text(self.Version), s.wall(), l.aside)
	if err == nil {
		err = announce(ctx, tx)
	}
	return err
}

// publishes returns what this broker publishes about itself.
func (s *Store) publishes() (host string, self cluster.Self) {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if s.self == nil {
		return host, cluster.Self{PublicKey: []byte{}}
	}
	return host, *s.self
}

// refuseLive returns storage.ErrInUse if this broker can't join because of one of the nodes:
// its lease runs and one of the two wants the database alone, or both have one address, which is a
// cluster.ErrSameAddress too.
func (s *Store) refuseLive(nodes []cluster.Node) error {
	for _, n := range nodes {
		switch {
		case !n.Live:
		case s.self == nil && n.Address == "":
			return fmt.Errorf("%w: %s; this broker waits until that one stops or is silent for %s", storage.ErrInUse, n, s.term())
		case s.self == nil:
			return fmt.Errorf("%w: %s is a node of a cluster, and this broker is not: add a cluster block to this broker's configuration, or stop all nodes", storage.ErrInUse, n)
		case n.Address == "":
			return fmt.Errorf("%w: %s is not a node of a cluster: add a cluster block to its configuration, or stop it", storage.ErrInUse, n)
		case n.Address == s.self.Address:
			return fmt.Errorf("%w: %s advertises the same address %s: %w; change `advertise` in the cluster block of one of the two. "+
				"A node that has died keeps its address for %s", storage.ErrInUse, n, n.Address, cluster.ErrSameAddress, s.term())
		}
	}
	return nil
}

// renewed records when a renewal was requested, by system.Uptime. The database counts from
// a later moment, so the lease never ends there before it ends here.
func (l *lease) renewed(asked, term time.Duration) {
	if until := l.until.Load(); until != 0 && int64(asked) >= until {
		l.back.Store(int64(asked))
	}
	l.until.Store(int64(asked + term))
}

// spares reports whether this node removes no other nodes for now. Its own lease had run out, or that of
// another node when it joined: an outage of the database may have just ended, or the database's clock was
// set forward.
func (l *lease) spares() bool { return system.Uptime()-time.Duration(l.back.Load()) < spareAfter }

func (l *lease) isLost() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

// renewLoop renews the lease, on its own connection, until the store is closed or the
// database is lost.
func (s *Store) renewLoop(l *lease, conn *pgx.Conn) {
	defer close(l.ended)
	if l.shared {
		stop := s.startReaper(l)
		defer stop()
	}
	l.server = serverOf(conn)
	pause := renewEvery
	for {
		if conn = s.listen(l, conn, pause); s.life.Err() != nil {
			s.leave(l, conn)
			return
		}
		var err error
		conn, err = s.renew(l, conn)
		if storage.IsLost(err) {
			l.cause = err
			close(l.lost)
			s.watch.tell()
			disconnect(conn)
			return
		}
		pause = renewEvery
		if err != nil {
			pause = renewAgain
		}
	}
}

// renew renews the lease. If that fails, it replaces the connection. It returns an error for
// which storage.IsLost is true if the database is lost.
func (s *Store) renew(l *lease, conn *pgx.Conn) (*pgx.Conn, error) {
	if conn == nil {
		ctx, cancel := context.WithTimeout(s.life, reconnectWithin)
		defer cancel()
		var err error
		if conn, err = s.connectLease(ctx); err != nil {
			return nil, err
		}
		if server := serverOf(conn); server != l.server {
			l.server = server
			s.pool.Reset() // its idle connections lead to a server that may never answer again
		}
	}
	ctx, cancel := context.WithTimeout(s.life, renewWithin)
	defer cancel()
	asked, aside := system.Uptime(), s.elsewhere.Load()
	var ahead time.Duration
	var count int64
	var late, drains, moves bool
	err := conn.QueryRow(ctx, renewLease, l.id, s.term(), l.count.Load(), aside, s.clockAhead.Load() != 0, s.wall()).
		Scan(&late, &count, &ahead, &drains, &moves)
	if errors.Is(err, pgx.ErrNoRows) {
		return conn, lossOf(ctx, conn, l)
	}
	if err == nil {
		if late { // the database's clock may have been set forward: then all leases have run out
			l.back.Store(int64(asked))
		}
		l.renewed(asked, s.term())
		l.count.Store(count)
		if did, moved := l.drains.Swap(drains), l.moves.Swap(moves); did != drains || moved != moves {
			s.watch.tell()
		}
		err = s.judgeClock(ctx, conn, l, ahead)
	}
	if err == nil && aside != l.aside {
		l.aside = aside
		_, err = conn.Exec(ctx, notify)
	}
	if err != nil {
		disconnect(conn)
		return nil, err
	}
	return conn, nil
}

// serverOf returns the address at which a connection has found its server.
func serverOf(conn *pgx.Conn) string { return conn.PgConn().Conn().RemoteAddr().String() }

// lossOf returns why a lease can't be renewed: its row is gone, or older than it was. An older row
// is removed, so that this node writes nothing more even if its lease still runs.
func lossOf(ctx context.Context, conn *pgx.Conn, l *lease) error {
	var exists bool
	if err := conn.QueryRow(ctx, nodeExists, l.id).Scan(&exists); err != nil || !exists {
		return storage.ErrInUse
	}
	_ = removeOwn(ctx, conn, l) // otherwise the lease runs out
	return storage.ErrSetBack
}

// removeOwn removes the row of this process's lease after the running transactions have ended.
func removeOwn(ctx context.Context, conn *pgx.Conn, l *lease) error {
	b := &pgx.Batch{}
	b.Queue(`SELECT pg_advisory_xact_lock($1)`, l.id)
	b.Queue(`DELETE FROM claudemesh.nodes WHERE id = $1`, l.id)
	b.Queue(notify)
	return conn.SendBatch(ctx, b).Close()
}

// leave removes the row after the running transactions have ended, and closes the
// connection. If the server does not answer, the lease runs out instead.
func (s *Store) leave(l *lease, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	for range 2 { // the connection may have been broken for a long time
		if conn == nil {
			var err error
			if conn, err = s.connect(ctx); err != nil {
				return
			}
		}
		err := removeOwn(ctx, conn, l)
		disconnect(conn)
		if err == nil {
			return
		}
		conn = nil
	}
}

// disconnect closes a connection, if there is one, without a long wait.
func disconnect(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // on error the connection is closed as well
}
