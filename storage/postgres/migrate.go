package postgres

import (
	"context"
	"embed"
	"errors"
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

// These are advisory locks, which apply to one database. The numbers are arbitrary.
const (
	// A broker that knows no schema version from nodesVersion on holds oldBrokerLock while
	// it has the database, and shares oldCommitLock in every commit.
	oldBrokerLock = 7161127435829133826
	oldCommitLock = 7161127435829133827
	migrateLock   = 7161127435829133828
)

const (
	// nodesVersion is the first version with the table nodes.
	nodesVersion = 8
	// renewalsVersion is the first version in which that table counts renewals.
	renewalsVersion = 10
)

// Migrate upgrades the schema, in one transaction and under a lock, so that several
// processes may call it at the same time. It returns a *storage.NewerSchemaError if this
// program can't work with the schema, and storage.ErrInUse if a broker that has the
// database could not work with the new schema. In both cases it changes nothing.
func (s *Store) Migrate(ctx context.Context) error {
	ctx, done := s.scope(ctx)
	defer done()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.migrate(ctx)
	if errors.Is(err, storage.ErrInUse) {
		s.publishCandidateLocked(ctx, err) // in vain if the schema is older than the candidates
	}
	return wrap("migrate database", err)
}

func (s *Store) migrate(ctx context.Context) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	if err := bootstrap(ctx, conn.Conn()); err != nil {
		return err
	}
	found, oldest, err := schemaVersion(ctx, conn)
	if err != nil || found >= len(migrations) {
		return errors.Join(err, refuseNewer(found, oldest))
	}
	return locked(ctx, conn.Conn(), func(tx pgx.Tx) error { return applySteps(ctx, tx) })
}

// applySteps applies the remaining steps.
func applySteps(ctx context.Context, tx pgx.Tx) error {
	found, oldest, err := schemaVersion(ctx, tx)
	if err != nil || found >= len(migrations) {
		return errors.Join(err, refuseNewer(found, oldest))
	}
	steps := migrations[found:]
	if err := requireNobody(ctx, tx, found, steps); err != nil {
		return err
	}
	for _, step := range steps {
		if err := script(ctx, tx, step.SQL); err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
		_, err := tx.Exec(ctx, `INSERT INTO claudemesh.schema_version (version, applied_at) VALUES ($1, $2)`,
			step.Version, time.Now().UnixMilli())
		if err == nil && step.Oldest < step.Version {
			_, err = tx.Exec(ctx, `UPDATE claudemesh.schema_version SET oldest = $2 WHERE version = $1`, step.Version, step.Oldest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// requireNobody returns storage.ErrInUse if a running broker can't work with the schema
// after the given steps. No broker can join meanwhile.
func requireNobody(ctx context.Context, tx pgx.Tx, found int, steps []migration.Migration) error {
	if found < nodesVersion {
		var got bool
		err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, int64(oldBrokerLock)).Scan(&got)
		if err == nil && !got {
			err = fmt.Errorf("%w: it is an older version, and the schema must be changed; stop it", storage.ErrInUse)
		}
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(oldCommitLock))
		return err
	}
	nodes, err := nodesOf(ctx, tx, anyNodes)
	if err != nil {
		return err
	}
	oldest := steps[len(steps)-1].Oldest
	for _, n := range nodes {
		if n.Live && n.Schema < oldest {
			return fmt.Errorf("%w: %s; it knows schema version %d, and the schema must be changed to version %d: stop it",
				storage.ErrInUse, n, n.Schema, steps[len(steps)-1].Version)
		}
	}
	return nil
}

// checkSchema returns an error unless this program can work with the current schema.
func checkSchema(ctx context.Context, q querier) error {
	found, oldest, err := schemaVersion(ctx, q)
	if err != nil {
		return err
	}
	if found < len(migrations) {
		return fmt.Errorf("the schema has version %d, but this broker needs version %d", found, len(migrations))
	}
	return refuseNewer(found, oldest)
}

func refuseNewer(found, oldest int) error {
	if oldest > len(migrations) {
		return &storage.NewerSchemaError{Found: found, Known: len(migrations)}
	}
	return nil
}

// bootstrap creates the objects that guard migrations, if they do not exist.
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

// makeSchema creates the schema if it does not exist. A role that owns only its schema may
// not even run CREATE SCHEMA IF NOT EXISTS.
func makeSchema(ctx context.Context, tx pgx.Tx) error {
	var exists bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'claudemesh')`).Scan(&exists)
	if err != nil || exists {
		return err
	}
	_, err = tx.Exec(ctx, `CREATE SCHEMA claudemesh`)
	if violated(err, insufficientPrivilege) {
		return fmt.Errorf("the role may not create a schema; ask an administrator of the database to run:  CREATE SCHEMA claudemesh AUTHORIZATION <role>: %w", err)
	}
	return err
}

// querier is a connection, a pool or a transaction.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

func bootstrapped(ctx context.Context, q querier) (exists bool, err error) {
	// Don't use to_regclass: it may answer from this connection's cache, which is older
	// than the lock.
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'claudemesh' AND c.relname = 'claim')`).Scan(&exists)
	return exists, err
}

// locked runs do in a transaction. Only one such transaction runs at a time in the whole
// database.
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

// SchemaVersion returns the number of the newest applied migration, or 0.
func (s *Store) SchemaVersion(ctx context.Context) (int, error) {
	ctx, done := s.scope(ctx)
	defer done()
	version, _, err := schemaVersion(ctx, s.pool)
	return version, wrap("read schema version", err)
}

// schemaVersion returns the version of the schema, or 0, and the oldest version that a
// program must know in order to work with the schema.
func schemaVersion(ctx context.Context, q querier) (version, oldest int, err error) {
	if exists, err := bootstrapped(ctx, q); err != nil || !exists {
		return 0, 0, err
	}
	// Older schemas have no column oldest; the JSON form of a row works with and without
	// it.
	err = q.QueryRow(ctx, `SELECT version, coalesce((to_jsonb(v) ->> 'oldest')::integer, version)
		FROM claudemesh.schema_version v ORDER BY version DESC LIMIT 1`).Scan(&version, &oldest)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return version, oldest, err
}
