package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/disk"
)

// FileName is the name of the store's file in the config directory.
const FileName = "daemon.db"

// Store is the daemon's persistent state. What a method writes survives a loss of power once
// the method has returned. All methods are safe for concurrent use.
type Store struct{ db *sql.DB }

// Open opens the store of a directory, which must exist. It creates the store on first use.
func Open(ctx context.Context, dir peer.Dir) (*Store, error) {
	db, err := disk.Open(ctx, dir.Path(FileName), schema, "foreign_keys(ON)")
	if err != nil {
		return nil, fmt.Errorf("open daemon's store: %w", err)
	}
	return &Store{db}, nil
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

// change runs f in a transaction.
func (s *Store) change(ctx context.Context, f func(*sql.Tx) error) error {
	return disk.InTx(ctx, s.db, f)
}

// exec runs one statement.
func (s *Store) exec(ctx context.Context, doing, query string, args ...any) error {
	if _, err := s.db.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// collect returns the rows of a query, each as scan reads it.
func collect[T any](ctx context.Context, db *sql.DB, doing string, scan func(*sql.Rows, *T) error, query string, args ...any) ([]T, error) {
	list, err := disk.Collect(ctx, db, scan, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return list, nil
}
