package broker_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// leased is a storage whose claim the test controls.
type leased struct {
	*sqlite.Store
	claimed atomic.Pointer[error]
	ends    atomic.Bool // the lease runs out while the next presence is read
}

func (l *leased) Claimed() error { return *l.claimed.Load() }

func (l *leased) turn(err error) { l.claimed.Store(&err) }

func (l *leased) LastPresence(ctx context.Context, mesh wire.ID, id presence.Identity) (presence.Record, bool, error) {
	if l.ends.Swap(false) {
		l.turn(storage.ErrSuspended)
	}
	return l.Store.LastPresence(ctx, mesh, id)
}

func startLeased(t *testing.T) (*server, *leased) {
	t.Helper()
	store := openNew(t)
	lease := &leased{Store: store}
	lease.turn(nil)
	return serve(t, store, lease, nil), lease
}

// TestSuspended checks that a broker whose storage lease has run out accepts no messages
// and no new connections, keeps its connections, and continues when the lease is renewed.
func TestSuspended(t *testing.T) {
	t.Parallel()
	s, lease := startLeased(t)
	m, b := s.owner(), newKeys(t)
	alice, bob := s.session(m, newKeys(t), "alice"), s.session(m, b, "bob")
	alice.tell(0, b.Public())
	bob.gets(0)
	bob.send(frame{"type": "set_status", "status": wire.Working})
	bob.wantPeers("alice", "bob") // the status is set
	waits := message(1, b.Public(), 100)
	waits["priority"] = wire.Next
	alice.send(waits)
	alice.acked(1, 2)

	lease.turn(storage.ErrSuspended)
	var not *broker.NotReady
	if err := s.Ready(t.Context()); !errors.As(err, &not) || not.Reason != "storage_suspended" {
		t.Errorf("Ready = %v, want reason storage_suspended", err)
	}
	alice.send(message(2, b.Public(), 100))
	await.Until(t, "the message waits", func() bool { return s.Stats().Parked == 1 })
	bob.send(frame{"type": "set_status", "status": wire.Idle})
	bob.wantPeers("alice", "bob") // without a push before it
	carol := s.dial()
	carol.send(sessionHello(m, newKeys(t), "carol"))
	alice.wantPeers("alice", "bob")

	lease.turn(nil)
	alice.acked(2, 3)
	bob.gets(1, 2)
	carol.next("hello_ack")
	alice.wantPeers("alice", "bob", "carol")
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSuspendedDuringHello checks that nobody is let in if the lease runs out while the broker reads
// what a hello needs.
func TestSuspendedDuringHello(t *testing.T) {
	t.Parallel()
	s, lease := startLeased(t)
	m := s.owner()
	alice := s.session(m, newKeys(t), "alice")
	lease.ends.Store(true)
	carol := s.dial()
	carol.send(sessionHello(m, newKeys(t), "carol"))
	await.Until(t, "the lease runs out", func() bool { return lease.Claimed() != nil })
	if refused := carol.next("error"); refused["code"] != string(wire.CodeTryAgain) {
		t.Errorf("hello: got %v, want error %s", refused, wire.CodeTryAgain)
	}
	alice.wantPeers("alice")
}

// TestSuspendedForLong checks that hellos and sends that wait for the end of a long
// suspension are told to try again.
func TestSuspendedForLong(t *testing.T) {
	t.Parallel()
	s, lease := startLeased(t)
	m := s.owner()
	alice := s.session(m, newKeys(t), "alice")
	lease.turn(storage.ErrSuspended)
	alice.send(message(0, newKeys(t).Public(), 100))
	carol := s.dial()
	carol.send(sessionHello(m, newKeys(t), "carol"))
	if refused := carol.next("error"); refused["code"] != string(wire.CodeTryAgain) {
		t.Errorf("hello: got %v, want error %s", refused, wire.CodeTryAgain)
	}
	if ack := alice.next("ack"); ack["queued"] == true || !strings.HasPrefix(ack["error"].(string), wire.AckQueueFull) {
		t.Errorf("send: got ack %v, want error %s", ack, wire.AckQueueFull)
	}
	alice.wantPeers("alice")
}

// TestStorageLost checks that a broker notices by itself that another one has claimed the
// storage.
func TestStorageLost(t *testing.T) {
	t.Parallel()
	s, lease := startLeased(t)
	s.owner()
	lease.turn(storage.ErrInUse)
	select {
	case <-s.Lost():
	case <-time.After(await.Patience):
		t.Fatal("the broker did not notice that it lost the storage")
	}
	var not *broker.NotReady
	if err := s.Ready(t.Context()); !errors.As(err, &not) || not.Reason != "storage_in_use" {
		t.Errorf("Ready = %v, want reason storage_in_use", err)
	}
}
