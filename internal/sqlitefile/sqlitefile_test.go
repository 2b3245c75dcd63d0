package sqlitefile

import (
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/internal/disktest"
)

// TestOpenAtOnce checks that several goroutines can create and open one database at once, and that
// it stays locked. Without the locks, another process could delete the write-ahead log that is in
// use.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	for range 100 {
		path := filepath.Join(t.TempDir(), "x.db")
		start := make(chan struct{})
		var opening sync.WaitGroup
		for range 4 {
			opening.Go(func() {
				<-start
				if err := Create(path); err != nil {
					t.Error(err)
					return
				}
				db, err := Open(t.Context(), path, 1, url.Values{"_pragma": {"journal_mode(WAL)"}})
				if err != nil {
					t.Error(err)
					return
				}
				t.Cleanup(func() { db.Close() })
			})
		}
		close(start)
		opening.Wait()
		if !t.Failed() && !disktest.Locked(t, path) {
			t.Fatal("the connections have lost their locks")
		}
	}
}
