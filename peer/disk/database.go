package disk

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/claudemesh/claudemesh/internal/netfs"
	"github.com/claudemesh/claudemesh/internal/sqlitefile"
	"github.com/claudemesh/claudemesh/peer/configdir"
)

// NetworkFS returns a warning for databases in a directory on a network file system of the
// given kind (see netfs.Kind), with advice. It returns "" if kind is "".
func NetworkFS(d configdir.Dir, kind string) string {
	if kind == "" {
		return ""
	}
	return fmt.Sprintf("%s is on a network file system (%s), where databases work without their write-ahead log, which is slower, and rely on that system's locks; "+
		"set CLAUDEMESH_CONFIG_DIR to a directory on a local disk", d, kind)
}

// Step upgrades a database by one version of its schema.
type Step func(ctx context.Context, tx *sql.Tx) error

// SQL returns the step that runs an SQL script.
func SQL(script string) Step {
	return func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, script)
		return err
	}
}

// Open opens or creates an SQLite database that only this user may access (mode 0600). It
// applies the schema steps that the file has not had yet; SQLite's user_version counts
// them. Several processes may open the database at once. A write that has returned
// survives a loss of power.
func Open(ctx context.Context, path string, steps []Step, pragmas ...string) (*sql.DB, error) {
	db, err := open(ctx, path, netfs.Kind(path), pragmas)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := migrate(ctx, db, steps); err != nil {
		db.Close()
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	return db, nil
}

// open opens a database on a file system of the given kind (see netfs.Kind). The
// write-ahead log needs memory that all processes with the open file share; processes on
// two machines can't share memory.
func open(ctx context.Context, path, kind string, pragmas []string) (*sql.DB, error) {
	if err := sqlitefile.Create(path); err != nil {
		return nil, err
	}
	pragmas = append([]string{"synchronous(FULL)"}, pragmas...)
	if kind == "" {
		pragmas = append(pragmas, "journal_mode(WAL)")
	}
	// One connection writes; other goroutines wait for it here instead of for the file.
	db, err := sqlitefile.Open(ctx, path, 1, url.Values{"_pragma": pragmas, "_txlock": {"immediate"}})
	if err != nil {
		return nil, err
	}
	if kind != "" {
		// This fails while another process has the file open with a log; then the log
		// stays.
		_, _ = db.ExecContext(ctx, `PRAGMA journal_mode(DELETE)`)
	}
	return db, nil
}

// migrate applies the remaining steps in one transaction, so only one of several processes
// applies them.
func migrate(ctx context.Context, db *sql.DB, steps []Step) error {
	if version, err := userVersion(ctx, db); err != nil || version == len(steps) {
		return err
	}
	return InTx(ctx, db, func(tx *sql.Tx) error {
		version, err := userVersion(ctx, tx)
		if err != nil {
			return err
		}
		if version < 0 || version > len(steps) {
			return fmt.Errorf("schema version %d belongs to a newer claudemesh; this one knows versions up to %d, so update it", version, len(steps))
		}
		for i, step := range steps[version:] {
			if err := step(ctx, tx); err != nil {
				return fmt.Errorf("migrate to version %d: %w", version+i+1, err)
			}
		}
		_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", len(steps)))
		return err
	})
}

func userVersion(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (version int, err error) {
	err = q.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version)
	return version, err
}

// InTx runs do in a transaction that holds the write lock from its beginning. It commits
// the transaction if do returns nil.
func InTx(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Querier is a database or a transaction.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Collect returns the rows of a query, each as scan reads it.
func Collect[T any](ctx context.Context, q Querier, scan func(*sql.Rows, *T) error, query string, args ...any) (list []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// StartsAndEnds returns two SQL LIKE patterns, with \ as the escape, for texts that start
// with part and texts that end with part.
func StartsAndEnds(part string) (starts, ends string) {
	literal := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(part)
	return literal + "%", "%" + literal
}
