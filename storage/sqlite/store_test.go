package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/claudemesh/claudemesh/storage/storagetest"
)

func TestStore(t *testing.T) {
	storagetest.Run(t, func(t testing.TB) storagetest.Database {
		path := filepath.Join(t.TempDir(), "mesh.db")
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
	})
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
