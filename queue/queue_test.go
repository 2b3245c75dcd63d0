package queue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// inbox is an outlet that keeps the pushes.
type inbox struct {
	pushes   []map[string]any
	caughtUp int
	stuck    bool // the pushes have not been written yet
	v1       bool // cannot open messages sealed for many
}

func (i *inbox) Push(frame []byte) {
	var push map[string]any
	if err := json.Unmarshal(frame, &push); err != nil {
		panic(err)
	}
	i.pushes = append(i.pushes, push)
}

func (i *inbox) CaughtUp() { i.caughtUp++ }

func (i *inbox) Flushed() bool { return !i.stuck }

func (i *inbox) Opens(m *queue.Message) bool { return !i.v1 || !m.SealedForMany() }

// clientIDs lists the client ids of the pushes, in order.
func (i *inbox) clientIDs() []string {
	var ids []string
	for _, p := range i.pushes {
		ids = append(ids, p["client_message_id"].(string))
	}
	return ids
}

func (i *inbox) id(t *testing.T, n int) wire.ID {
	t.Helper()
	id, err := wire.ParseID(i.pushes[n]["messageId"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

var (
	mesh   = wire.ID{1}
	member = wire.ID{2}
	box    = queue.Mailbox{Mesh: mesh, Name: "s/recipient"}
)

// meshBytes limits the mesh's queue. Only the tests of usage_test.go reach it.
const meshBytes = 1 << 20

// fixture is a queue over a store in memory, in a bubble of virtual time.
type fixture struct {
	*queue.Queue
	*queue.Mesh
	store *memStore
}

// open makes a queue over a store, and loads the mesh.
func open(t testing.TB, store queue.Store, j queue.Journal, settings queue.Settings) (*queue.Queue, *queue.Mesh) {
	t.Helper()
	q := queue.New(store, j, func() queue.Settings { return settings })
	m, err := q.Load(context.Background(), mesh)
	if err != nil {
		t.Fatal(err)
	}
	return q, m
}

// inBubble runs f with a fresh queue; everything has stopped when it returns.
func inBubble(t *testing.T, f func(t *testing.T, q fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		ctx, cancel := context.WithCancel(context.Background())
		j := journal.New(store, zap.NewNop(), journal.DefaultBudget)
		q, m := open(t, store, j, queue.Settings{DeliveryLease: 30 * time.Second, MeshBytes: meshBytes})
		done := make(chan struct{})
		go func() { j.Run(ctx); close(done) }()
		f(t, fixture{q, m, store})
		cancel()
		q.Stop()
		<-done
	})
}

// fate is the result that a sender was told. It is undecided until then.
type fate struct{ result atomic.Pointer[queue.Result] }

func (f *fate) tell(r queue.Result) { f.result.Store(&r) }

var errUndecided = errors.New("undecided")

// err is nil when the message is safe.
func (f *fate) err() error {
	r := f.result.Load()
	if r == nil {
		return errUndecided
	}
	return r.Err
}

func (f *fate) id() wire.ID { return f.result.Load().MessageID }

// send accepts a message and returns its fate.
func (f fixture) send(clientID string, priority wire.Priority, boxes ...queue.Mailbox) *fate {
	return f.sendBody(clientID, priority, "Ym9keQ==", boxes...)
}

func (f fixture) sendBody(clientID string, priority wire.Priority, body string, boxes ...queue.Mailbox) *fate {
	var to []queue.To
	for _, b := range boxes {
		to = append(to, queue.To{Mailbox: b, Name: b.Name})
	}
	if err := f.Prepare(context.Background(), member); err != nil {
		told := &fate{}
		told.tell(queue.Result{Err: err})
		return told
	}
	told := &fate{}
	f.Accept(queue.Message{
		SenderMember: member, ClientID: clientID, Priority: priority, Ciphertext: body, TargetSpec: "@x",
	}, to, told.tell)
	return told
}

func expect(t *testing.T, in *inbox, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := in.clientIDs(); !slices.Equal(got, want) {
		t.Fatalf("pushed %v, want %v", got, want)
	}
}

// commit waits until the journal has committed everything.
func commit() { pause(100 * time.Millisecond) }

// pause advances virtual time by d and waits until everything due by then has happened.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestSafeOnlyWhenStoredOrAcknowledgedByAll checks that the sender is told that a message
// is safe once it is stored or every recipient has acknowledged it, and not before.
func TestSafeOnlyWhenStoredOrAcknowledgedByAll(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		q.store.behave(slow, always(none))
		other := queue.Mailbox{Mesh: mesh, Name: "s/other"}
		var a, b inbox
		q.Attach(box, &a, false)
		q.Attach(other, &b, false)
		pause(2 * time.Second)

		result := q.send("m", wire.Next, box, other)
		expect(t, &a, "m")
		q.Acknowledge(box, &a, a.id(t, 0), "")
		if result.err() == nil {
			t.Fatal("safe although one recipient has not acknowledged and nothing is stored")
		}
		q.Acknowledge(other, &b, wire.ID{}, "m")
		if result.err() != nil {
			t.Fatalf("not safe although all recipients have acknowledged: %v", result.err())
		}
		pause(3 * time.Second)

		alone := q.send("n", wire.Next, box)
		if alone.err() == nil {
			t.Fatal("safe although nothing is stored or acknowledged")
		}
		pause(3 * time.Second)
		if alone.err() != nil {
			t.Fatalf("not safe although stored: %v", alone.err())
		}
	})
}

func TestAcknowledgedBeforeCommitIsStoredAsDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		q.store.behave(slow, always(none))
		var in inbox
		q.Attach(box, &in, false)
		pause(2 * time.Second)
		q.send("busy", wire.Next) // keeps the journal busy while the next one is acknowledged
		pause(100 * time.Millisecond)
		q.send("m", wire.Next, box)
		q.Acknowledge(box, &in, in.id(t, 0), "")
		pause(5 * time.Second)
		for _, m := range q.store.messages {
			if m.ClientID == "m" && m.Recipients[0].State != queue.Delivered {
				t.Fatalf("stored as %s, want %s", m.Recipients[0].State, queue.Delivered)
			}
		}
		found, err := q.Find(context.Background(), in.id(t, 0).String(), 2)
		if err != nil || len(found) != 1 || found[0].Recipients[0].State != queue.Delivered {
			t.Fatalf("found %+v, %v; want one message that is delivered", found, err)
		}
	})
}

func TestAbsentRecipientGetsEverythingInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var want []string
		for i := range 300 { // more than a page and more than the window
			want = append(want, fmt.Sprint("m", i))
			q.send(want[i], wire.Next, box)
		}
		commit()
		if n := q.Stats().Mailboxes; n != 0 {
			t.Fatalf("got %d mailboxes in memory, want none for an absent recipient", n)
		}
		var in inbox
		q.Attach(box, &in, false)
		commit()
		if len(in.pushes) != 256 || in.caughtUp != 0 {
			t.Fatalf("got %d pushes and caught up %d times before any acknowledgement, want the window of 256 and 0", len(in.pushes), in.caughtUp)
		}
		for i := 0; i < len(in.pushes); i++ {
			q.Acknowledge(box, &in, in.id(t, i), "")
			commit()
		}
		expect(t, &in, want...)
		if in.caughtUp != 1 {
			t.Fatalf("caught up %d times, want once", in.caughtUp)
		}
	})
}

func TestWindowBoundsBytesButNeverStops(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var in inbox
		q.Attach(box, &in, false)
		commit()
		big := strings.Repeat("QUJD", 3<<18) // 3 MiB: more than the window
		q.sendBody("a", wire.Now, big, box)
		q.sendBody("b", wire.Now, big, box)
		q.send("c", wire.Now, box)
		commit()
		expect(t, &in, "a")
		q.Acknowledge(box, &in, wire.ID{}, "a")
		commit()
		expect(t, &in, "a", "b")
		q.Acknowledge(box, &in, wire.ID{}, "b")
		commit()
		expect(t, &in, "a", "b", "c")
	})
}

func TestGateHoldsAndReleasesInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var in inbox
		q.Attach(box, &in, true)
		commit()
		q.send("next1", wire.Next, box)
		q.send("now1", wire.Now, box)
		q.send("low", wire.Low, box)
		q.send("now2", wire.Now, box)
		commit()
		expect(t, &in, "now1", "now2")
		q.Gate(box, &in, false)
		commit()
		q.send("next2", wire.Next, box)
		expect(t, &in, "now1", "now2", "next1", "low", "next2")
		q.Gate(box, &in, true)
		q.send("next3", wire.Next, box)
		commit()
		expect(t, &in, "now1", "now2", "next1", "low", "next2")
	})
}

func TestGateOpenedWhileDraining(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var want []string
		for i := range 200 {
			want = append(want, fmt.Sprint("m", i))
			q.send(want[i], []wire.Priority{wire.Now, wire.Low}[i%2], box)
		}
		commit()
		var in inbox
		q.Attach(box, &in, true)
		pause(time.Millisecond + 500*time.Microsecond) // while the queue reads the first pages
		q.Gate(box, &in, false)
		commit()
		got := in.clientIDs()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("got %d of %d messages", len(got), len(want))
		}
	})
}

func TestLeaseRunsOut(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var in inbox
		q.Attach(box, &in, false)
		commit()
		q.send("a", wire.Next, box)
		q.send("b", wire.Next, box)
		q.send("c", wire.Next, box)
		commit()
		q.Acknowledge(box, &in, wire.ID{}, "b")
		pause(29 * time.Second)
		q.ExpireLeases()
		expect(t, &in, "a", "b", "c")
		pause(2 * time.Second)
		q.ExpireLeases()
		commit()
		expect(t, &in, "a", "b", "c", "a", "c")

		// An acknowledgement of the first push counts even after the second lease, which is
		// twice as long.
		pause(61 * time.Second)
		q.store.behave(quick, always(fails))
		q.ExpireLeases()
		if !q.Acknowledge(box, &in, wire.ID{}, "a") {
			t.Fatal("a late acknowledgement did not count")
		}
		q.store.behave(quick, always(none))
		pause(5 * time.Second)
		expect(t, &in, "a", "b", "c", "a", "c", "c")
	})
}

// expireUntil expires leases every second until end, and returns when something was
// pushed, in seconds.
func (f fixture) expireUntil(in *inbox, end time.Duration) (times []int) {
	began, pushed := time.Now(), len(in.pushes)
	for time.Since(began) < end {
		f.ExpireLeases()
		pause(time.Second)
		if n := len(in.pushes); n != pushed {
			pushed = n
			times = append(times, int(time.Since(began).Seconds()))
		}
	}
	return times
}

// TestLeaseDoubles checks that the lease doubles with every redelivery that a recipient
// does not acknowledge, until the recipient acknowledges something or comes back.
func TestLeaseDoubles(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var in inbox
		q.Attach(box, &in, false)
		commit()
		q.send("a", wire.Next, box)
		pause(10 * time.Second)
		q.send("b", wire.Next, box) // sent later: it does not double the lease once more
		commit()
		in.pushes = nil
		times := q.expireUntil(&in, 4*time.Hour)
		want := []int{20, 30, 81, 91, 201, 211, 442, 452, 922, 932, 1883, 1893, 3803, 3813, 7404, 7414, 11005, 11015}
		if len(times) != len(want) {
			t.Fatalf("pushed again after %v s, want about %v", times, want)
		}
		for i := range times {
			if times[i] < want[i]-2 || times[i] > want[i]+20 {
				t.Fatalf("pushed again after %v s, want about %v", times, want)
			}
		}

		if !q.Acknowledge(box, &in, wire.ID{}, "a") {
			t.Fatal("a late acknowledgement did not count")
		}
		if times := q.expireUntil(&in, 100*time.Second); len(times) != 2 || times[0] > 33 || times[1] > 95 {
			t.Fatalf("after an acknowledgement: pushed again after %v s, want two times, by 33 s and by 95 s", times)
		}
		q.expireUntil(&in, time.Hour)
		var back inbox
		q.Attach(box, &back, false)
		commit()
		expect(t, &back, "b")
		if times := q.expireUntil(&back, 100*time.Second); len(times) != 2 || times[0] > 33 || times[1] > 95 {
			t.Fatalf("after the recipient came back: pushed again after %v s, want two times, by 33 s and by 95 s", times)
		}
	})
}

// TestLongLease checks that a configured lease longer than the longest doubled one does
// not change.
func TestLongLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		var in inbox
		q, m := open(t, store, &handJournal{}, queue.Settings{DeliveryLease: 3 * time.Hour})
		defer q.Stop()
		store.insert(&queue.Accepted{Message: queue.Message{ID: wire.ID{9}, MeshID: mesh, ClientID: "m"}, Recipients: []queue.Recipient{{Seq: 1, Mailbox: box}}})
		q.Attach(box, &in, false)
		commit()
		if times := (fixture{q, m, store}).expireUntil(&in, 10*time.Hour); len(times) != 3 {
			t.Fatalf("pushed again after %v s, want every three hours", times)
		}
	})
}

// TestLeaseRunsOutBehindTheGate checks that a push whose lease runs out while the gate is
// closed is repeated when the gate opens.
func TestLeaseRunsOutBehindTheGate(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var in inbox
		q.Attach(box, &in, false)
		commit()
		q.send("m", wire.Next, box)
		commit()
		q.Gate(box, &in, true)
		pause(31 * time.Second)
		q.ExpireLeases()
		commit()
		expect(t, &in, "m")
		q.Gate(box, &in, false)
		commit()
		expect(t, &in, "m", "m")
	})
}

// TestLeaseWaitsForTheLine checks that a push is not repeated before it has been written
// to a slow connection.
func TestLeaseWaitsForTheLine(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		in := inbox{stuck: true}
		q.Attach(box, &in, false)
		commit()
		q.send("m", wire.Next, box)
		commit()
		for range 10 {
			pause(31 * time.Second)
			q.ExpireLeases()
		}
		expect(t, &in, "m")
		in.stuck = false
		q.ExpireLeases()
		commit()
		expect(t, &in, "m", "m")
	})
}

// pageStore holds back the first page it reads until let is closed.
type pageStore struct {
	*memStore
	read, let chan struct{}
	once      sync.Once
}

func (s *pageStore) Backlog(ctx context.Context, b queue.Mailbox, after int64, urgentOnly bool, limit int) ([]queue.Waiting, error) {
	page, err := s.memStore.Backlog(ctx, b, after, urgentOnly, limit)
	s.once.Do(func() { close(s.read); <-s.let })
	return page, err
}

// handJournal stores entries by hand, in any order.
type handJournal struct{ entries []*queue.Entry }

func (j *handJournal) Accept(e *queue.Entry) { j.entries = append(j.entries, e) }
func (j *handJournal) Settle(queue.Settling) {}
func (j *handJournal) Close(queue.Closing)   {}

func (j *handJournal) store(t *testing.T, s *memStore, i int) {
	t.Helper()
	if _, err := s.Commit(context.Background(), &journal.Batch{Messages: []*queue.Accepted{j.entries[i].Freeze()}}); err != nil {
		t.Fatal(err)
	}
	j.entries[i].Stored(wire.ID{})
}

// TestLateMessageIsNotPassedOver checks that a message that is stored after a later one of
// another sender is still delivered.
func TestLateMessageIsNotPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &pageStore{memStore: newMemStore(), read: make(chan struct{}), let: make(chan struct{})}
		j := &handJournal{}
		q, m := open(t, store, j, queue.Settings{DeliveryLease: time.Hour})
		f := fixture{q, m, store.memStore}
		f.send("one", wire.Now, box)
		f.send("two", wire.Now, box)
		j.store(t, store.memStore, 1)
		var in inbox
		q.Attach(box, &in, false)
		<-store.read // a page with "two" alone
		j.store(t, store.memStore, 0)
		close(store.let)
		pause(time.Second)
		expect(t, &in, "two", "one")
		q.Stop()
	})
}

// TestFailuresAreReported checks that the queue reports that it can't read a mailbox, and pushes
// what waits there once it can.
func TestFailuresAreReported(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var failures []error
		q.OnFailure(func(err error) { failures = append(failures, err) })
		q.send("m", wire.Next, box)
		commit()
		q.store.behave(quick, always(fails))
		var in inbox
		q.Attach(box, &in, false)
		pause(2500 * time.Millisecond)
		if len(failures) != 3 || !errors.Is(failures[0], errAway) {
			t.Errorf("reported %v, want that the store is away, three times", failures)
		}
		q.store.behave(quick, always(none))
		pause(2 * time.Second)
		expect(t, &in, "m")
	})
}

func TestReconnectRedeliversWhatWasNotAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var first, second inbox
		q.Attach(box, &first, false)
		commit()
		q.send("a", wire.Next, box)
		q.send("b", wire.Next, box)
		q.send("c", wire.Next, box)
		synctest.Wait()
		q.Acknowledge(box, &first, wire.ID{}, "b")
		q.Attach(box, &second, false) // before anything was committed
		if q.Acknowledge(box, &first, wire.ID{}, "a") {
			t.Error("the old connection's acknowledgement counted")
		}
		q.Detach(box, &first) // has no effect: first has lost the mailbox
		commit()
		q.send("d", wire.Next, box)
		commit()
		expect(t, &second, "a", "c", "d")
	})
}

func TestRepeatedSend(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		var in inbox
		q.Attach(box, &in, false)
		commit()
		one, two := q.send("m", wire.Next, box), q.send("m", wire.Next, box)
		commit()
		three := q.send("m", wire.Next, box)
		if one.err() != nil || two.err() != nil || three.err() != nil || one.id() != two.id() || one.id() != three.id() {
			t.Fatalf("got ids %v, %v and %v, want the same id three times", one.id(), two.id(), three.id())
		}
		expect(t, &in, "m")
	})
}

func TestRepeatedSendAfterRestart(t *testing.T) {
	var store *memStore
	var id wire.ID
	inBubble(t, func(t *testing.T, q fixture) {
		store = q.store
		r := q.send("m", wire.Next, box)
		commit()
		id = r.id()
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		j := journal.New(store, zap.NewNop(), journal.DefaultBudget)
		q, m := open(t, store, j, queue.Settings{DeliveryLease: time.Minute})
		go j.Run(ctx)
		r := fixture{q, m, store}.send("m", wire.Next, box)
		if r.err() != nil || r.id() != id {
			t.Fatalf("sent again after a restart: got error %v or another id, want %s", r.err(), id)
		}
		var in inbox
		q.Attach(box, &in, false)
		commit()
		expect(t, &in, "m")
		q.Stop()
	})
}

// TestStorageAway checks that accepted messages wait while the storage is away for a
// moment. If it stays away for seconds, they are refused, except those that every
// recipient has acknowledged.
func TestStorageAway(t *testing.T) {
	t.Parallel()
	for _, f := range []fault{fails, storedButNo} {
		inBubble(t, func(t *testing.T, q fixture) {
			var in inbox
			q.Attach(box, &in, false)
			q.send("before", wire.Next)
			commit()
			q.store.behave(quick, always(f))
			short := q.send("short", wire.Next, box)
			pause(3 * time.Second)
			late := q.send("late", wire.Next, box)
			if !errors.Is(short.err(), errUndecided) {
				t.Fatalf("after 3 s: got %v, want undecided", short.err())
			}
			q.store.behave(quick, always(none))
			pause(time.Second)
			if short.err() != nil || late.err() != nil {
				t.Fatalf("not safe although the storage is back: %v, %v", short.err(), late.err())
			}
			expect(t, &in, "short", "late")

			q.store.behave(quick, always(f))
			long, had := q.send("long", wire.Next, box), q.send("had", wire.Next, box)
			pause(time.Second)
			q.Acknowledge(box, &in, in.id(t, 3), "")
			pause(6 * time.Second)
			if !errors.Is(long.err(), queue.ErrUnavailable) || had.err() != nil {
				t.Fatalf("unacknowledged: got %v, want ErrUnavailable; acknowledged: got %v, want nil", long.err(), had.err())
			}
			q.store.behave(quick, always(none))
			pause(time.Second)
			again := q.send("long", wire.Next, box)
			commit()
			if again.err() != nil {
				t.Fatalf("refused although the storage is back: %v", again.err())
			}
			kept := 0
			for _, m := range q.store.messages {
				if m.ClientID != "had" {
					continue
				}
				if kept++; m.Recipients[0].State != queue.Delivered {
					t.Errorf("an acknowledged message is stored as %s, want %s", m.Recipients[0].State, queue.Delivered)
				}
			}
			if kept != 1 {
				t.Errorf("an acknowledged message is stored %d times, want once", kept)
			}
			ids := make(map[string]int)
			for _, e := range q.store.chains[mesh] {
				ids[e.Detail]++
				if ids[e.Detail] > 1 {
					t.Errorf("the audit log holds an event twice: %s", e.Detail)
				}
			}
		})
	}
}

// TestEndedMailboxGivesUp checks that the pending messages of an ended mailbox are gone.
func TestEndedMailboxGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T, q fixture) {
		r := q.send("m", wire.Next, box)
		q.End(box)
		commit()
		found, err := q.Find(context.Background(), r.id().String()[:8], 2)
		if err != nil || len(found) != 1 || found[0].Recipients[0].State != queue.Gone {
			t.Fatalf("found %+v, %v; want one message whose recipient is gone", found, err)
		}
	})
}

func BenchmarkAcceptLive(b *testing.B) {
	store := &discard{newMemStore()}
	ctx, cancel := context.WithCancel(context.Background())
	j := journal.New(store, zap.NewNop(), journal.DefaultBudget)
	q, m := open(b, store, j, queue.Settings{DeliveryLease: time.Minute})
	var running sync.WaitGroup
	running.Go(func() { j.Run(ctx) })
	defer running.Wait()
	defer cancel()
	defer q.Stop()
	acks := make(chan wire.ID, 1)
	out := acker{acks, make(chan struct{})}
	q.Attach(box, out, false)
	<-out.ready
	body := strings.Repeat("QUJD", 341) // 1 kB of ciphertext
	key := wire.Key{1}.String()
	attestation := &wire.Attestation{SessionPubkey: key, ParentMemberPubkey: key, ExpiresAt: 1_900_000_000_123, Signature: key + key}
	to := []queue.To{{Mailbox: box}}
	b.ReportAllocs()
	for b.Loop() {
		for q.Stats().Open > 1000 {
			runtime.Gosched() // let the journal catch up: it is the bottleneck
		}
		m.Accept(queue.Message{SenderMember: member, Priority: wire.Now, Ciphertext: body, TargetSpec: "@x",
			SenderAttestation: attestation}, to, func(queue.Result) {})
		q.Acknowledge(box, out, <-acks, "")
	}
}

// acker hands the id of each push to the benchmark.
type acker struct {
	ids   chan wire.ID
	ready chan struct{}
}

func (a acker) Push(frame []byte) {
	var id wire.ID
	start := len(`{"type":"push","messageId":"`)
	if err := id.UnmarshalText(frame[start : start+32]); err != nil {
		panic(err)
	}
	a.ids <- id
}

func (a acker) CaughtUp() { close(a.ready) }

func (a acker) Flushed() bool { return true }

func (a acker) Opens(*queue.Message) bool { return true }

// discard is a store that keeps nothing.
type discard struct{ *memStore }

func (discard) Commit(context.Context, *journal.Batch) ([]journal.Duplicate, error) { return nil, nil }
