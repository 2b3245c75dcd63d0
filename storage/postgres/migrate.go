package postgres

import (
	"context"
	"embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/internal/migration"
)

//go:embed migrations/*.sql
var files embed.FS

//go:embed bootstrap.sql
var bootstrapSQL string

var migrations = migration.MustLoad(files, "migrations")

// Migrate brings the schema up to date, each step in a transaction of its own and
// under a lock, so that it may run at the same time in several processes. It
// returns a *storage.NewerSchemaError when the schema is newer than this program;
// nothing is changed then.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, done := s.scope(ctx)
	defer done()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return wrap("migrate database", err)
	}
	defer conn.Release()
	if err := bootstrap(ctx, conn.Conn()); err != nil {
		return wrap("migrate database", err)
	}
	for more := true; more; {
		err := locked(ctx, conn.Conn(), func(tx pgx.Tx) (err error) {
			more, err = migrate(ctx, tx)
			return err
		})
		if err != nil {
			return wrap("migrate database", err)
		}
	}
	return nil
}

// migrate takes one step, if there is one left.
func migrate(ctx context.Context, tx pgx.Tx) (more bool, err error) {
	found, err := schemaVersion(ctx, tx)
	switch {
	case err != nil:
		return false, err
	case found > len(migrations):
		return false, &storage.NewerSchemaError{Found: found, Known: len(migrations)}
	case found == len(migrations):
		return false, nil
	}
	step := migrations[found]
	if err := script(ctx, tx, step.SQL); err != nil {
		return false, fmt.Errorf("%s: %w", step.Name, err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO claudemesh.schema_version (version, applied_at) VALUES ($1, $2)`,
		step.Version, time.Now().UnixMilli())
	return true, err
}

// bootstrap makes what guards the migrations, if it is not there.
func bootstrap(ctx context.Context, conn *pgx.Conn) error {
	if exists, err := bootstrapped(ctx, conn); err != nil || exists {
		return err
	}
	return locked(ctx, conn, func(tx pgx.Tx) error {
		if exists, err := bootstrapped(ctx, tx); err != nil || exists {
			return err
		}
		if err := makeSchema(ctx, tx); err != nil {
			return err
		}
		return script(ctx, tx, bootstrapSQL)
	})
}

// makeSchema makes the schema if it is not there. A role that owns its schema and nothing
// else may not even ask for it with IF NOT EXISTS.
func makeSchema(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'claudemesh')`).Scan(&exists)
	if err != nil || exists {
		return err
	}
	_, err = tx.Exec(ctx, `CREATE SCHEMA claudemesh`)
	if violated(err, insufficientPrivilege) {
		return fmt.Errorf("the role may not make a schema; have an administrator of the database run: CREATE SCHEMA claudemesh AUTHORIZATION <role>: %w", err)
	}
	return err
}

// querier is a connection, a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

func bootstrapped(ctx context.Context, q querier) (exists bool, err error) {
	// Not to_regclass, which may answer from what this connection remembers of the
	// time before it waited for the lock.
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'claudemesh' AND c.relname = 'claim')`).Scan(&exists)
	return exists, err
}

// locked runs do in a transaction, one at a time in the whole database.
func locked(ctx context.Context, conn *pgx.Conn, do func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(migrateLock)); err != nil {
			return err
		}
		return do(tx)
	})
}

// script runs any number of statements without arguments.
func script(ctx context.Context, tx pgx.Tx, sql string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// SchemaVersion returns the number of the newest migration that was applied, 0
// for none.
func (s *Store) SchemaVersion(ctx context.Context) (int, error) {
	ctx, done := s.scope(ctx)
	defer done()
	version, err := schemaVersion(ctx, s.pool)
	return version, wrap("read schema version", err)
}

func schemaVersion(ctx context.Context, q querier) (version int, err error) {
	if exists, err := bootstrapped(ctx, q); err != nil || !exists {
		return 0, err
	}
	err = q.QueryRow(ctx, `SELECT coalesce(max(version), 0) FROM claudemesh.schema_version`).Scan(&version)
	return version, err
}
