package disk

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/disktest"
)

// TestJournalOfADatabase checks the journal mode: two machines that share a file share no memory,
// but a write-ahead log needs shared memory.
func TestJournalOfADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	for _, tc := range []struct{ kind, want string }{{"", "wal"}, {"NFS", "delete"}, {"NFS", "delete"}, {"", "wal"}} {
		db, err := open(t.Context(), path, tc.kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if _, err := db.ExecContext(t.Context(), `CREATE TABLE IF NOT EXISTS x (y)`); err != nil {
			t.Fatal(err)
		}
		if err := db.QueryRowContext(t.Context(), `PRAGMA journal_mode`).Scan(&got); err != nil || got != tc.want {
			t.Errorf("on %q: %s, %v; want %s", tc.kind, got, err, tc.want)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A process of an older version has the file open, with a log.
	old, err := open(t.Context(), path, "", []string{"busy_timeout(0)"})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if _, err := old.ExecContext(t.Context(), `INSERT INTO x VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	db, err := open(t.Context(), path, "NFS", []string{"busy_timeout(0)"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `INSERT INTO x VALUES (2)`); err != nil {
		t.Errorf("beside an older process: %v", err)
	}
}

func TestNetworkFS(t *testing.T) {
	t.Parallel()
	if got := NetworkFS("/home/me/.claudemesh", ""); got != "" {
		t.Errorf("on a local disk: %q", got)
	}
	text := NetworkFS("/home/me/.claudemesh", "NFS")
	for _, word := range []string{"/home/me/.claudemesh", "NFS", "CLAUDEMESH_CONFIG_DIR"} {
		if !strings.Contains(text, word) {
			t.Errorf("%q does not say %s", text, word)
		}
	}
}

// TestSecondOpenKeepsLocks checks that a database that a process opens twice stays locked. Without
// its locks, another process could delete the write-ahead log that is in use.
func TestSecondOpenKeepsLocks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	for range 2 {
		db, err := Open(t.Context(), path, []Step{SQL(`CREATE TABLE x (y)`)})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
	}
	if !disktest.Locked(t, path) {
		t.Error("the first connection has lost its locks")
	}
}
