package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/claudemesh/claudemesh/storage/internal/column"
)

// writer runs transactions, one at a time, on one connection.
type writer struct {
	slot chan struct{} // has one slot, which a writer holds
	db   *sql.DB

	// The holder of the slot owns these fields.
	conn       *sql.Conn            // nil if not yet opened, or given up
	statements map[string]*sql.Stmt // of conn, by their text; there are few texts
}

// tx is a running transaction.
type tx struct {
	*writer
	ctx context.Context
}

// update runs do in a transaction; only one runs at a time. If do returns an error, update
// rolls the transaction back. ctx limits only the wait for the connection.
func (s *Store) update(ctx context.Context, do func(t tx) error) error {
	w := s.write
	select {
	case w.slot <- struct{}{}:
		defer func() { <-w.slot }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t := tx{w, context.WithoutCancel(ctx)}
	if err := t.begin(); err != nil {
		return err
	}
	err := do(t)
	if err == nil {
		_, err = t.exec("COMMIT")
	}
	if err != nil {
		// This fails if SQLite has already rolled back, for example on a full disk. If it
		// fails for another reason, the next begin notices.
		_, _ = t.conn.ExecContext(t.ctx, "ROLLBACK")
	}
	return err
}

// begin starts a transaction. If that fails on a connection, the next begin uses a new
// connection.
func (t tx) begin() error {
	if t.conn == nil {
		conn, err := t.db.Conn(t.ctx)
		if err != nil {
			return err
		}
		t.writer.conn, t.writer.statements = conn, map[string]*sql.Stmt{}
	}
	_, err := t.exec("BEGIN IMMEDIATE")
	if err != nil {
		_ = t.conn.Raw(func(any) error { return driver.ErrBadConn }) // discards it
		_ = t.conn.Close()
		t.writer.conn = nil
	}
	return err
}

// close waits for the running transaction.
func (w *writer) close() error {
	w.slot <- struct{}{}
	defer func() { <-w.slot }()
	return w.closeConn()
}

// reopen waits for the running transaction, and goes on with another pool.
func (w *writer) reopen(db *sql.DB) error {
	w.slot <- struct{}{}
	defer func() { <-w.slot }()
	err := w.closeConn()
	w.db = db
	return err
}

func (w *writer) closeConn() error {
	var err error
	if w.conn != nil {
		for _, st := range w.statements {
			err = errors.Join(err, st.Close())
		}
		err = errors.Join(err, w.conn.Close())
		w.conn = nil
	}
	return errors.Join(err, w.db.Close())
}

// prepare returns the prepared statement of a query.
func (t tx) prepare(query string) (*sql.Stmt, error) {
	if st := t.statements[query]; st != nil {
		return st, nil
	}
	st, err := t.conn.PrepareContext(t.ctx, query)
	if err == nil {
		t.statements[query] = st
	}
	return st, err
}

// exec runs a prepared statement and returns how many rows it changed.
func (t tx) exec(query string, args ...any) (int64, error) {
	st, err := t.prepare(query)
	if err != nil {
		return 0, err
	}
	result, err := st.ExecContext(t.ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// query runs a prepared query.
func (t tx) query(query string, args ...any) (*sql.Rows, error) {
	st, err := t.prepare(query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(t.ctx, args...)
}

// row runs a prepared query that returns one row.
func (t tx) row(query string, args ...any) column.Row {
	st, err := t.prepare(query)
	if err != nil {
		return failed{err}
	}
	return st.QueryRowContext(t.ctx, args...)
}
