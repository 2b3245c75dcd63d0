package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/claudemesh/claudemesh/storage/internal/column"
)

// reader runs queries on a pool of connections. It prepares each query once.
type reader struct {
	mu         sync.Mutex
	db         *sql.DB
	statements map[string]*sql.Stmt // by their text; there are few texts
}

func (r *reader) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closeLocked()
}

// reopen goes on with another pool.
func (r *reader) reopen(db *sql.DB) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.closeLocked()
	r.db = db
	return err
}

func (r *reader) closeLocked() error {
	var err error
	for _, st := range r.statements {
		err = errors.Join(err, st.Close())
	}
	clear(r.statements)
	return errors.Join(err, r.db.Close())
}

// conn returns a connection, which the caller closes.
func (r *reader) conn(ctx context.Context) (*sql.Conn, error) {
	r.mu.Lock()
	db := r.db
	r.mu.Unlock()
	return db.Conn(ctx)
}

// prepare returns the prepared statement of a query.
func (r *reader) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	st, db := r.statements[query], r.db
	r.mu.Unlock()
	if st != nil {
		return st, nil
	}
	// Don't hold the lock here, because this may wait for a connection.
	st, err := db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.statements[query]; first != nil {
		return first, st.Close()
	}
	if r.db != db {
		return nil, errors.Join(errors.New("the database file was replaced meanwhile"), st.Close())
	}
	r.statements[query] = st
	return st, nil
}

// query runs a prepared query.
func (r *reader) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := r.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// row runs a prepared query that returns one row.
func (r *reader) row(ctx context.Context, query string, args ...any) column.Row {
	st, err := r.prepare(ctx, query)
	if err != nil {
		return failed{err}
	}
	return st.QueryRowContext(ctx, args...)
}

// failed is the row of a query that could not be prepared.
type failed struct{ err error }

func (f failed) Scan(...any) error { return f.err }

// collect reads all rows of a query.
func collect[T any](rows *sql.Rows, err error, scan func(column.Row) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	return column.Collect(rows, scan)
}

// Rows runs a query. It is for programs that copy the database.
func (s *Store) Rows(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return s.read.query(ctx, query, args...)
}
