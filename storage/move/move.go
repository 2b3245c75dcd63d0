package move

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

// Limits of the rows of one transaction. A transaction takes as long as some hundred rows,
// so larger ones gain nothing.
const (
	batchRows  = 1000
	batchBytes = 8 << 20
)

// ErrNotEmpty means that the target has meshes, and is not a copy of the source.
var ErrNotEmpty = errors.New("the target already has meshes of its own")

// Progress is called while a move runs, with the name of a table, whether its rows are
// being compared rather than copied, how many of them this run has done, and how many the
// source has.
type Progress func(table string, comparing bool, done, rows int64)

// Moved says how many rows the target has in each table.
type Moved map[string]int64

// mover is a running move.
type mover struct {
	from     *sqlite.Store
	to       *postgres.Store
	progress Progress
}

// Run copies the database, and compares every row. The caller has upgraded and claimed both
// databases. If an earlier move was interrupted, Run goes on with it; if it was complete,
// Run compares only.
func Run(ctx context.Context, from *sqlite.Store, to *postgres.Store, progress Progress) (Moved, error) {
	m := &mover{from, to, progress}
	var all, last, first []*table
	complete := false
	err := to.Transaction(ctx, func(tx pgx.Tx) error {
		for _, t := range tables() {
			if err := t.describe(ctx, tx); err != nil {
				return err
			}
			all = append(all, t)
			if t.last {
				last = append(last, t)
			} else {
				first = append(first, t)
			}
		}
		return tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM claudemesh.meshes)`).Scan(&complete)
	})
	if err != nil {
		return nil, err
	}
	moved := make(Moved)
	if complete {
		err := to.Transaction(ctx, func(tx pgx.Tx) error { return m.compareAll(ctx, tx, all, moved) })
		if err != nil {
			err = fmt.Errorf("%w: %w", ErrNotEmpty, err)
		}
		return moved, err
	}
	for _, t := range first {
		if err := m.copy(ctx, t, func(do func(pgx.Tx) error) error { return to.Transaction(ctx, do) }); err != nil {
			return nil, fmt.Errorf("copy %s: %w", t.name, err)
		}
	}
	if err := to.Transaction(ctx, func(tx pgx.Tx) error { return m.compareAll(ctx, tx, first, moved) }); err != nil {
		return nil, err
	}
	return moved, to.Transaction(ctx, func(tx pgx.Tx) error {
		for _, t := range last {
			err := m.copy(ctx, t, func(do func(pgx.Tx) error) error { return do(tx) })
			if err != nil {
				return fmt.Errorf("copy %s: %w", t.name, err)
			}
		}
		return m.compareAll(ctx, tx, last, moved)
	})
}

// copy copies what the target lacks of a table, with a call of transaction for each part.
func (m *mover) copy(ctx context.Context, t *table, transaction func(do func(pgx.Tx) error) error) (err error) {
	total, err := m.count(ctx, t)
	if err != nil {
		return err
	}
	var after []any
	if err := transaction(func(tx pgx.Tx) (err error) {
		after, err = lastKey(ctx, tx, t)
		return err
	}); err != nil {
		return err
	}
	rows, err := m.from.Rows(ctx, t.query(after != nil), after...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for done, more := int64(0), true; more; {
		b := &batch{table: t, rows: rows}
		if err := transaction(func(tx pgx.Tx) error {
			_, err := tx.CopyFrom(ctx, t.identifier(), t.names(), b)
			return err
		}); err != nil {
			return err
		}
		done, more = done+int64(b.n), b.full()
		m.report(t.name, false, done, total)
	}
	return rows.Err()
}

func (m *mover) report(table string, comparing bool, done, rows int64) {
	if m.progress != nil {
		m.progress(table, comparing, done, rows)
	}
}

// lastKey returns the highest key of a table in the target, as arguments of a query of the
// source; nil if the table is empty.
func lastKey(ctx context.Context, tx pgx.Tx, t *table) ([]any, error) {
	rows, err := tx.Query(ctx, `SELECT `+strings.Join(t.key, ", ")+` FROM `+t.identifier().Sanitize()+
		` ORDER BY `+strings.Join(t.key, " DESC, ")+` DESC LIMIT 1`)
	if err != nil {
		return nil, err
	}
	found, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
	if err != nil || len(found) == 0 {
		return nil, err
	}
	for i, v := range found[0] {
		if id, ok := v.([16]byte); ok {
			found[0][i] = id[:]
		}
	}
	return found[0], nil
}

// batch reads the rows of one transaction from the source.
type batch struct {
	table *table
	rows  *sql.Rows

	values []any
	n      int
	bytes  int
	err    error
}

func (b *batch) full() bool { return b.n >= batchRows || b.bytes >= batchBytes }

// Next implements pgx.CopyFromSource.
func (b *batch) Next() bool {
	if b.err != nil || b.full() || !b.rows.Next() {
		return false
	}
	b.n++
	b.values, b.err = b.table.scan(b.rows)
	for _, v := range b.values {
		switch v := v.(type) {
		case string:
			b.bytes += len(v)
		case []byte:
			b.bytes += len(v)
		}
	}
	return b.err == nil
}

// Values implements pgx.CopyFromSource.
func (b *batch) Values() ([]any, error) { return b.values, nil }

// Err implements pgx.CopyFromSource.
func (b *batch) Err() error { return errors.Join(b.err, b.rows.Err()) }

// scan reads a row of the source, as the target has it.
func (t *table) scan(rows *sql.Rows) ([]any, error) {
	values, into := make([]any, len(t.columns)), make([]any, len(t.columns))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	for i := range values {
		var err error
		if values[i], err = t.columns[i].convert(values[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}
