package postgres

import (
	_ "embed"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage/storagetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestStore(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t testing.TB) storagetest.Database { return database(pgtest.DSN(t)) })
}

// TestUpgrade migrates databases with data from older brokers.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	upgrade(t, 1, 3, oldRows, storagetest.Upgrade)
}

// TestUpgradeOneSequence does the same for the schemas that had one sequence of deliveries
// for all meshes.
func TestUpgradeOneSequence(t *testing.T) {
	t.Parallel()
	upgrade(t, 4, 6, oneSequenceRows, storagetest.UpgradeOneSequence)
}

//go:embed testdata/old.sql
var oldRows string

//go:embed testdata/one_sequence.sql
var oneSequenceRows string

// upgrade fills a database of each version of the schema that accepts the rows, and checks
// the upgrade.
func upgrade(t *testing.T, from, to int, rows string, check func(t *testing.T, db storagetest.Database)) {
	for version := from; version <= to; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.DSN(t)
			execute(t, dsn, `CREATE SCHEMA claudemesh; `+bootstrapSQL)
			for _, step := range migrations[:version] {
				execute(t, dsn, step.SQL)
				execute(t, dsn, fmt.Sprintf(`INSERT INTO claudemesh.schema_version (version, applied_at) VALUES (%d, 0)`, step.Version))
			}
			execute(t, dsn, rows)
			check(t, database(dsn))
		})
	}
}

func database(dsn string) storagetest.Database {
	return storagetest.Database{
		Schema: "claudemesh.",
		Open:   func(t testing.TB) storagetest.Store { return open(t, dsn) },
		Exec:   func(t testing.TB, sql string) { t.Helper(); execute(t, dsn, sql) },
	}
}

// open opens a database; the caller closes it.
func open(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// migrated opens a database until the end of the test, and brings its schema up to date.
func migrated(t testing.TB, dsn string) *Store {
	t.Helper()
	s := open(t, dsn)
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func execute(t testing.TB, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}
