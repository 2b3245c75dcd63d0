package broker

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/claudemesh/claudemesh/internal/sqlitefile"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

// leased is a storage with a lease.
type leased struct {
	*sqlite.Store
	lease error
}

func (l *leased) Claimed() error { return l.lease }

// TestFailingSweepIsLoggedOnce takes a table away from the storage, so that the count of what waits
// and the sweep fail. The log has one line about it, and one when they work again. It has none while
// the broker is suspended, because it has told of that.
func TestFailingSweepIsLoggedOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "broker.db")
	store, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := sqlitefile.Open(t.Context(), path, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	rename := func(from, to string) {
		t.Helper()
		if _, err := other.ExecContext(t.Context(), "ALTER TABLE "+from+" RENAME TO "+to); err != nil {
			t.Fatal(err)
		}
	}
	core, logs := observer.New(zap.InfoLevel)
	leased := &leased{Store: store}
	b := New(Options{Storage: leased, Log: zap.New(core)})
	sweep := func(want ...string) {
		t.Helper()
		for range 3 {
			b.depth.due = time.Time{}
			b.sweepOnce(t.Context(), time.Now())
		}
		lines := logs.TakeAll()
		if len(lines) != len(want) {
			t.Fatalf("the log has %v, want %q", lines, want)
		}
		for i, line := range lines {
			if line.Message != want[i] {
				t.Errorf("the log has %q, want %q", line.Message, want[i])
			}
		}
	}
	const fails, works = "sweeping the storage failed; the broker tries again", "the storage can be swept again"
	sweep()
	rename("deliveries", "away")
	sweep(fails)
	rename("away", "deliveries")
	sweep(works)
	rename("deliveries", "away")
	leased.lease = storage.ErrSuspended
	sweep()
	leased.lease = nil
	sweep(fails)
}

// uncounted is a storage that can't count what waits.
type uncounted struct{ *sqlite.Store }

func (uncounted) Depth(context.Context) (queue.Depth, error) {
	return queue.Depth{}, errors.New("too much to count")
}

// TestFailingCountIsLoggedOnce checks that the log does not say that all is well again while only the count of
// what waits fails, which most sweeps leave out.
func TestFailingCountIsLoggedOnce(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "broker.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	b := New(Options{Storage: uncounted{store}, Log: zap.New(core)})
	for _, due := range []time.Time{{}, time.Now().Add(time.Hour), {}} {
		b.depth.due = due
		b.sweepOnce(t.Context(), time.Now())
	}
	if lines := logs.All(); len(lines) != 1 {
		t.Errorf("the log has %v, want one line", lines)
	}
}
