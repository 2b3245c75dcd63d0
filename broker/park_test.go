package broker_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// stalling is a storage. A test can make its commits wait or fail.
type stalling struct {
	*sqlite.Store
	mu    sync.Mutex
	still chan struct{} // commits wait until it is closed; nil: they do not wait
	fails bool
}

func (s *stalling) Commit(ctx context.Context, b *journal.Batch) ([]journal.Duplicate, error) {
	s.mu.Lock()
	still, fails := s.still, s.fails
	s.mu.Unlock()
	if fails {
		return nil, errors.New("no disk")
	}
	if still != nil {
		select {
		case <-still:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Commit(ctx, b)
}

// stall makes commits wait until the returned function is called.
func (s *stalling) stall() (goOn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	still := make(chan struct{})
	s.still = still
	return sync.OnceFunc(func() {
		s.mu.Lock()
		s.still = nil
		s.mu.Unlock()
		close(still)
	})
}

func (s *stalling) fail(fails bool) {
	s.mu.Lock()
	s.fails = fails
	s.mu.Unlock()
}

// stalled runs a broker on a stalling storage, with a budget for few messages.
func stalled(t *testing.T) (*server, *stalling) {
	t.Helper()
	store := openNew(t)
	storage := &stalling{Store: store}
	return run(t, store, broker.Options{Storage: storage, Budget: 20_000}, nil), storage
}

// acked reads the acks of the messages from to to-1, which must be accepted.
func (c *client) acked(from, to int) {
	c.t.Helper()
	for n := from; n < to; n++ {
		if ack := c.next("ack"); ack["id"] != fmt.Sprint(n) || ack["queued"] != true {
			c.t.Fatalf("message %d: got ack %v, want queued", n, ack)
		}
	}
}

// TestSendsWaitForRoom checks that sends wait in order while the journal's budget is used
// up, that the broker serves the connection's other requests meanwhile, and that it
// refuses nothing.
func TestSendsWaitForRoom(t *testing.T) {
	t.Parallel()
	s, storage := stalled(t)
	m, b := s.owner(), newKeys(t)
	alice, bob := s.session(m, newKeys(t), "alice"), s.session(m, b, "bob")
	alice.tell(0, b.Public())
	bob.gets(0)
	goOn := storage.stall()
	const n = 60 // few enough that a slow machine sends them before the first times out
	for i := 1; i < n; i++ {
		alice.send(message(i, b.Public(), 400))
	}
	await.Until(s.t, "sends wait", func() bool { return s.Stats().Parked > 30 })
	alice.wantPeers("alice", "bob")
	goOn()
	alice.acked(1, n)
	for i := 1; i < n; i++ {
		bob.gets(i)
	}
	for code, n := range s.Stats().Refused {
		if n != 0 {
			t.Errorf("refused %d with %s, want none", n, code)
		}
	}
	if n := s.Stats().Parked; n != 0 {
		t.Errorf("parked %d, want none", n)
	}
}

// TestAcknowledgementsPassTheSendsThatWait checks that the broker serves a recipient's
// acknowledgements, which free room for others, although its own sends wait.
func TestAcknowledgementsPassTheSendsThatWait(t *testing.T) {
	t.Parallel()
	s, storage := stalled(t)
	m, a, b := s.owner(), newKeys(t), newKeys(t)
	alice, bob := s.session(m, a, "alice"), s.session(m, b, "bob")
	alice.tell(0, b.Public())
	bob.gets(0)
	goOn := storage.stall()
	defer goOn()
	bob.send(message(1, a.Public(), 30_000)) // more than the budget: it is committed alone
	push := alice.next("push")
	alice.send(message(2, b.Public(), 400))
	await.Until(s.t, "a send waits", func() bool { return s.Stats().Parked == 1 })
	alice.send(frame{"type": "client_ack", "brokerMessageId": push["messageId"]})
	bob.acked(1, 2) // safe, because every recipient has acknowledged it
}

// TestSendsOutlastAShortFailure checks that a short failure of the storage does not refuse
// sends.
func TestSendsOutlastAShortFailure(t *testing.T) {
	t.Parallel()
	s, storage := stalled(t)
	m, b := s.owner(), newKeys(t)
	alice := s.session(m, newKeys(t), "alice")
	bob := s.session(m, b, "bob")
	alice.tell(0, b.Public())
	storage.fail(true)
	const n = 60 // few enough, and one failure: even a slow machine is done before the first times out
	for i := 1; i < n; i++ {
		alice.send(message(i, b.Public(), 400))
	}
	await.Until(s.t, "the storage has failed and sends wait", func() bool { return s.Stats().Journal.Failures > 0 && s.Stats().Parked > 0 })
	storage.fail(false)
	alice.acked(1, n)
	for i := range n {
		bob.gets(i)
	}
}

// TestRepeatedSendWhileTheFirstWaits checks that a send repeated while the first one waits
// makes one message.
func TestRepeatedSendWhileTheFirstWaits(t *testing.T) {
	t.Parallel()
	s, storage := stalled(t)
	m, b := s.owner(), newKeys(t)
	alice, again, bob := s.session(m, newKeys(t), "alice"), s.session(m, newKeys(t), "again"), s.session(m, b, "bob")
	alice.tell(0, b.Public())
	bob.gets(0)
	goOn := storage.stall()
	alice.send(message(1, b.Public(), 30_000))
	bob.gets(1)
	alice.acked(1, 2)
	alice.send(message(2, b.Public(), 100))
	await.Until(s.t, "the send waits", func() bool { return s.Stats().Parked == 1 })
	alice.send(message(2, b.Public(), 100))
	again.send(message(2, b.Public(), 100))
	alice.send(message(1, b.Public(), 100)) // was accepted before
	await.Until(s.t, "all sends wait", func() bool { return s.Stats().Parked == 4 })
	goOn()
	first := alice.next("ack")
	for _, ack := range []frame{alice.next("ack"), again.next("ack")} {
		if ack["queued"] != true || ack["messageId"] != first["messageId"] {
			t.Errorf("got ack %v, want queued with the id of %v", ack, first)
		}
	}
	if ack := alice.next("ack"); ack["id"] != "1" || ack["queued"] != true {
		t.Errorf("repetition of the accepted message: got ack %v, want queued with id 1", ack)
	}
	bob.gets(2)
	alice.tell(3, b.Public())
	bob.gets(3)
}

// TestConnectionEndsWhileSendsWait checks that sends that wait when their connection ends
// are not accepted. Their sender got no ack and sends them again.
func TestConnectionEndsWhileSendsWait(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*server, *client, func() *client){
		"cut": func(_ *server, c *client, _ func() *client) { _ = c.ws.CloseNow() },
		"polite": func(_ *server, c *client, _ func() *client) {
			go func() { _ = c.ws.Close(websocket.StatusNormalClosure, "") }()
		},
		"replaced": func(_ *server, _ *client, again func() *client) { again() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, storage := stalled(t)
			m, a, b := s.owner(), newKeys(t), newKeys(t)
			alice, bob := s.session(m, a, "alice"), s.session(m, b, "bob")
			alice.tell(0, b.Public())
			bob.gets(0)
			goOn := storage.stall()
			alice.send(message(1, b.Public(), 30_000))
			bob.gets(1)
			alice.acked(1, 2)
			for i := 2; i < 10; i++ {
				alice.send(message(i, b.Public(), 100))
			}
			await.Until(s.t, "the sends wait", func() bool { return s.Stats().Parked == 8 })
			again := func() *client { return s.session(m, a, "alice") }
			end(s, alice, again)
			if name == "replaced" {
				if reason := alice.closed(); reason != wire.ReasonReplaced {
					t.Fatalf("closed as %q, want %q", reason, wire.ReasonReplaced)
				}
			}
			await.Until(s.t, "no send waits", func() bool { return s.Stats().Parked == 0 })
			goOn()
			next := again()
			next.send(message(20, b.Public(), 100))
			next.acked(20, 21)
			bob.gets(20)
		})
	}
}

// TestMemberIsRemovedWhileSendsWait checks that the waiting sends of a removed member are
// not accepted.
func TestMemberIsRemovedWhileSendsWait(t *testing.T) {
	t.Parallel()
	s, storage := stalled(t)
	owner := s.owner()
	guest, b := s.join(owner), newKeys(t)
	alice, bob := s.session(owner, newKeys(t), "alice"), s.session(owner, b, "bob")
	evil := s.session(guest, newKeys(t), "evil")
	evil.tell(0, b.Public())
	bob.gets(0)
	goOn := storage.stall()
	evil.send(message(1, b.Public(), 30_000))
	bob.gets(1)
	evil.acked(1, 2)
	evil.send(message(2, b.Public(), 100))
	await.Until(s.t, "the send waits", func() bool { return s.Stats().Parked == 1 })
	alice.send(frame{"type": "member_remove", "pubkey": guest.keys.Public().String(), "_reqId": "r"})
	alice.next("ack")
	if reason := evil.closed(); reason != wire.ReasonBanned {
		t.Fatalf("closed as %q, want %q", reason, wire.ReasonBanned)
	}
	goOn()
	await.Until(s.t, "the send no longer waits", func() bool { return s.Stats().Parked == 0 })
	alice.tell(3, b.Public())
	bob.gets(3)
}

// TestStopWhileSendsWait checks that Stop does not wait for sends that are not accepted.
func TestStopWhileSendsWait(t *testing.T) {
	t.Parallel()
	s, storage := stalled(t)
	m, b := s.owner(), newKeys(t)
	alice, bob := s.session(m, newKeys(t), "alice"), s.session(m, b, "bob")
	alice.tell(0, b.Public())
	bob.gets(0)
	goOn := storage.stall()
	alice.send(message(1, b.Public(), 30_000))
	bob.gets(1)
	alice.acked(1, 2)
	alice.send(message(2, b.Public(), 100))
	await.Until(s.t, "the send waits", func() bool { return s.Stats().Parked == 1 })
	stopped := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
		defer cancel()
		stopped <- s.Stop(ctx)
	}()
	if reason := alice.closed(); reason != wire.ReasonShutdown {
		t.Fatalf("closed as %q, want %q", reason, wire.ReasonShutdown)
	}
	bob.closed()
	goOn()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if n := s.Stats().Queue.Accepted; n != 2 {
		t.Errorf("%d messages were accepted, want 2", n)
	}
}
