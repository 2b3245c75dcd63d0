package sqlite

import (
	"database/sql"
	_ "embed"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/claudemesh/claudemesh/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, func(t testing.TB) storagetest.Database { return database(filepath.Join(t.TempDir(), "mesh.db")) })
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
	upgrade(t, 4, 7, oneSequenceRows, storagetest.UpgradeOneSequence)
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
			db := database(filepath.Join(t.TempDir(), "mesh.db"))
			db.Exec(t, `CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL)`)
			for _, step := range migrations[:version] {
				db.Exec(t, step.SQL)
				db.Exec(t, fmt.Sprintf(`INSERT INTO schema_version (version, applied_at) VALUES (%d, 0)`, step.Version))
			}
			db.Exec(t, rows)
			check(t, db)
		})
	}
}

func database(path string) storagetest.Database {
	return storagetest.Database{
		Open: func(t testing.TB) storagetest.Store { return open(t, path) },
		Exec: func(t testing.TB, query string) {
			t.Helper()
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.ExecContext(t.Context(), "PRAGMA busy_timeout = 10000; "+query); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// open opens a database; the caller closes it.
func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// migrated opens a database until the end of the test, and brings its schema up to date.
func migrated(t testing.TB, path string) *Store {
	t.Helper()
	s := open(t, path)
	t.Cleanup(func() { s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}
