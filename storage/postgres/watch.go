package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Nodes of a cluster tell each other by notifications that nodes or owners have changed. A
// notification may be lost, so a node that waits for one also looks once a second.
const (
	notify = `NOTIFY claudemesh_cluster`
	listen = `LISTEN claudemesh_cluster`
)

// announce tells the nodes of a change when the transaction commits.
func announce(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, notify)
	return err
}

// watch tells waiters of changes.
type watch struct {
	mu      sync.Mutex
	changed chan struct{} // nil: nobody waits
}

func (w *watch) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}

func (w *watch) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// Watch implements cluster.Store. The pace is that of the lease's renewals.
func (s *Store) Watch() <-chan struct{} { return s.watch.next() }

// listen waits until the lease must be renewed, the node has something to publish, or the store is
// closed. Meanwhile it passes on the notifications that come over the lease's connection. It returns
// nil instead of a connection that has failed.
func (s *Store) listen(l *lease, conn *pgx.Conn, pause time.Duration) *pgx.Conn {
	ctx, cancel := context.WithTimeout(s.life, pause)
	defer cancel()
	defer s.watch.tell() // at this pace even without notifications
	s.hurry.Store(&cancel)
	if conn != nil && s.elsewhere.Load() != l.aside { // changed before this pause
		cancel()
	}
	for l.shared && conn != nil {
		_, err := conn.WaitForNotification(ctx)
		switch {
		case err == nil:
			s.watch.tell()
		case ctx.Err() != nil:
			return conn
		default:
			disconnect(conn)
			return nil
		}
	}
	<-ctx.Done()
	return conn
}

// connectLease opens the connection that renews the lease. A node gets notifications over
// it.
func (s *Store) connectLease(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx)
	if err != nil || s.self == nil {
		return conn, err
	}
	if _, err := conn.Exec(ctx, listen); err != nil {
		disconnect(conn)
		return nil, err
	}
	return conn, nil
}
