package broker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

// unreadable is a storage whose mailboxes can't be read while it is damaged.
type unreadable struct {
	*sqlite.Store
	damaged atomic.Bool
}

func (u *unreadable) Backlog(ctx context.Context, box queue.Mailbox, after int64, urgentOnly bool, limit int) ([]queue.Waiting, error) {
	if u.damaged.Load() {
		return nil, errors.New("malformed")
	}
	return u.Store.Backlog(ctx, box, after, urgentOnly, limit)
}

// TestUnreadableMailbox checks that the operator's counters show that mailboxes can't be read, and
// that their messages come once they can.
func TestUnreadableMailbox(t *testing.T) {
	t.Parallel()
	store := openNew(t)
	disk := &unreadable{Store: store}
	s := serve(t, store, disk, nil)
	m, b := s.owner(), newKeys(t)
	alice, bob := s.session(m, newKeys(t), "alice"), s.session(m, b, "bob")
	_ = bob.ws.CloseNow()
	alice.tell(1, b.Public())
	disk.damaged.Store(true)
	bob = s.session(m, b, "bob")
	await.Until(t, "a failure is counted", func() bool {
		return s.Stats().Storage[broker.StorageError{Operation: "read", Reason: storage.Failed}] > 0
	})
	disk.damaged.Store(false)
	bob.gets(1)
}
