package sqlite

import (
	"context"
	"embed"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/storage/internal/migration"
)

//go:embed migrations/*.sql
var files embed.FS

var migrations = migration.MustLoad(files, "migrations")

// Migrate upgrades the schema, with a transaction for each step. It returns a
// *storage.NewerSchemaError and changes nothing if the schema is newer than this program.
// Several processes may call it at the same time.
func (s *Store) Migrate(ctx context.Context) error {
	for more := true; more; {
		err := s.update(ctx, func(t tx) (err error) {
			more, err = t.migrate()
			return err
		})
		if err != nil {
			return wrap("migrate database", err)
		}
	}
	return nil
}

// migrate applies one step, if there is one left.
func (t tx) migrate() (more bool, err error) {
	found, err := schemaVersion(t.row)
	switch {
	case err != nil:
		return false, err
	case found > len(migrations):
		return false, &storage.NewerSchemaError{Found: found, Known: len(migrations)}
	case found == len(migrations):
		return false, nil
	}
	const versions = `CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL)`
	if _, err := t.conn.ExecContext(t.ctx, versions); err != nil {
		return false, err
	}
	step := migrations[found]
	if _, err := t.conn.ExecContext(t.ctx, step.SQL); err != nil {
		return false, fmt.Errorf("%s: %w", step.Name, err)
	}
	_, err = t.conn.ExecContext(t.ctx, `INSERT INTO schema_version (version, applied_at) VALUES (?, ?)`,
		step.Version, time.Now().UnixMilli())
	return true, err
}

// SchemaVersion returns the number of the newest applied migration, or 0.
func (s *Store) SchemaVersion(ctx context.Context) (int, error) {
	version, err := schemaVersion(func(query string, args ...any) column.Row {
		return s.read.row(ctx, query, args...)
	})
	return version, wrap("read schema version", err)
}

func schemaVersion(row func(query string, args ...any) column.Row) (int, error) {
	var tables, version int
	err := row(`SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'`).Scan(&tables)
	if err != nil || tables == 0 {
		return 0, err
	}
	err = row(`SELECT coalesce(max(version), 0) FROM schema_version`).Scan(&version)
	return version, err
}
