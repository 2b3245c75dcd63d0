package move

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// compareAll compares tables row by row, and enters how many rows they have.
func (m *mover) compareAll(ctx context.Context, tx pgx.Tx, list []*table, moved Moved) error {
	for _, t := range list {
		n, err := m.compare(ctx, tx, t)
		if err != nil {
			return fmt.Errorf("compare %s: %w", t.name, err)
		}
		moved[t.name] = n
	}
	return nil
}

// compare compares the rows of a table in both databases, and returns how many there are.
func (m *mover) compare(ctx context.Context, tx pgx.Tx, t *table) (n int64, err error) {
	var want int64
	if want, err = m.count(ctx, t); err != nil {
		return 0, err
	}
	source, err := m.from.Rows(ctx, t.query(false))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := tx.Query(ctx, `SELECT `+strings.Join(t.names(), ", ")+` FROM `+t.identifier().Sanitize()+` ORDER BY `+strings.Join(t.key, ", "))
	if err != nil {
		return 0, err
	}
	defer target.Close()
	for source.Next() {
		wanted, err := t.scan(source)
		if err != nil {
			return n, err
		}
		if !target.Next() {
			return n, errors.Join(target.Err(), fmt.Errorf("row %d is missing in the target", n+1))
		}
		got, err := target.Values()
		if err != nil {
			return n, err
		}
		for i := range wanted {
			if !same(wanted[i], got[i]) {
				return n, fmt.Errorf("row %d has another %s in the target", n+1, t.columns[i].name)
			}
		}
		if n++; n%batchRows == 0 {
			m.report(t.name, true, n, want)
		}
	}
	if err := source.Err(); err != nil {
		return n, err
	}
	if target.Next() {
		return n, fmt.Errorf("the target has rows that the source does not have, after row %d", n)
	}
	if err := target.Err(); err != nil {
		return n, err
	}
	if n != want {
		return n, fmt.Errorf("only %d of %d rows of the source belong to a message", n, want)
	}
	return n, nil
}

// count returns how many rows a table has in the source.
func (m *mover) count(ctx context.Context, t *table) (n int64, err error) {
	rows, err := m.from.Rows(ctx, `SELECT count(*) FROM `+t.name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if rows.Next() {
		err = rows.Scan(&n)
	}
	return n, errors.Join(err, rows.Err())
}
