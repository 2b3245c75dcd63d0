package journal_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

const budget = 100_000

// fill reserves 1000 bytes at a time for member until a reservation would have to wait.
// It returns the total.
func fill(j *journal.Journal, member wire.ID) (got int64) {
	for j.TryReserve(member, 1000) {
		got += 1000
	}
	return got
}

// TestBudgetIsSharedOut checks that a member that reserves all it can leaves room for
// the others.
func TestBudgetIsSharedOut(t *testing.T) {
	t.Parallel()
	j := journal.New(nil, zap.NewNop(), budget)
	for i := range 4 {
		got := fill(j, wire.ID{byte(i)})
		switch {
		case i == 0 && got != 80_000:
			t.Errorf("member 0 alone reserved %d, want 80000", got)
		case got == 0:
			t.Errorf("member %d reserved nothing", i)
		}
	}
	got := fill(j, wire.ID{0})
	if got != 0 {
		t.Errorf("member 0 reserved %d more, want 0", got)
	}
}

// TestLeastComesFirst checks that room goes first to the waiting member that holds the
// least, and that nobody else takes that room in the meantime.
func TestLeastComesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(nil, zap.NewNop(), budget)
		greedy, modest, third := wire.ID{1}, wire.ID{2}, wire.ID{3}
		got := fill(j, greedy)
		var mu sync.Mutex
		var order []string
		reserve := func(name string, member wire.ID, cost int64) {
			go func() {
				if err := j.Reserve(t.Context(), member, cost); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		reserve("greedy", greedy, 1000)
		reserve("modest", modest, 60_000)
		reserve("greedy", greedy, 1000)
		if j.TryReserve(third, 1000) {
			t.Error("a small reservation overtook a waiting one")
		}
		for range 39 {
			j.Release(greedy, 1000)
			synctest.Wait()
		}
		if len(order) > 0 {
			t.Errorf("reserved too early: %v", order)
		}
		for range got/1000 - 39 {
			j.Release(greedy, 1000)
			synctest.Wait()
		}
		if !slices.Equal(order, []string{"modest", "greedy", "greedy"}) {
			t.Errorf("got order %v, want modest, greedy, greedy", order)
		}
		if !j.TryReserve(third, 1000) {
			t.Error("not reserved although there is room")
		}
	})
}

// TestLargeGoesAlone checks that a message that costs more than the whole budget is
// reserved only while no other is.
func TestLargeGoesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(nil, zap.NewNop(), budget)
		if !j.TryReserve(wire.ID{1}, 1000) || j.TryReserve(wire.ID{2}, 2*budget) {
			t.Fatal("reserved although another message was in flight")
		}
		done := make(chan error)
		go func() { done <- j.Reserve(t.Context(), wire.ID{2}, 2*budget) }()
		synctest.Wait()
		j.Release(wire.ID{1}, 1000)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if j.TryReserve(wire.ID{1}, 1) {
			t.Error("another message was reserved while the large one was in flight")
		}
		j.Release(wire.ID{2}, 2*budget)
		if !j.TryReserve(wire.ID{1}, 1) {
			t.Error("not reserved although the large message was released")
		}
	})
}

// TestReserveGivesUp checks that a member that stops waiting takes no room and does not
// block the others.
func TestReserveGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(nil, zap.NewNop(), budget)
		fill(j, wire.ID{1})
		wait := func(member wire.ID, cost int64) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return j.Reserve(ctx, member, cost)
		}
		for range 3 {
			if err := wait(wire.ID{2}, budget); !errors.Is(err, queue.ErrFull) {
				t.Fatalf("got %v, want ErrFull", err)
			}
			if err := wait(wire.ID{1}, 1000); !errors.Is(err, queue.ErrFull) {
				t.Fatalf("got %v, want ErrFull", err)
			}
		}
		if !j.TryReserve(wire.ID{3}, 1000) {
			t.Error("not reserved although there is room")
		}
	})
}

// batches is a store that keeps the committed batches.
type batches struct {
	journal.Store
	mu     sync.Mutex
	failed int // commits that will fail
	list   []journal.Batch
}

func (b *batches) Ping(context.Context) error { return nil }

func (b *batches) AuditHead(context.Context, wire.ID) (audit.Head, error) { return audit.Head{}, nil }

func (b *batches) Commit(_ context.Context, batch *journal.Batch) ([]journal.Duplicate, error) {
	time.Sleep(10 * time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed > 0 {
		b.failed--
		return nil, errAway
	}
	b.list = append(b.list, *batch)
	return nil, nil
}

// marks is a store of meshes in which nobody has sent anything yet.
type marks struct{ queue.Store }

func (marks) Mark(context.Context, wire.ID) (queue.Mark, error) { return queue.Mark{}, nil }

func emptyMesh(t *testing.T, j *journal.Journal) (*queue.Queue, *queue.Mesh) {
	t.Helper()
	q := queue.New(marks{}, j, func() queue.Settings { return queue.Settings{DeliveryLease: time.Minute} })
	m, err := q.Load(t.Context(), mesh)
	if err != nil {
		t.Fatal(err)
	}
	return q, m
}

// inTurn fills a journal, runs it in virtual time and returns the batches it committed.
func inTurn(t *testing.T, fill func(j *journal.Journal, send func(member byte, body string, recipients int))) []journal.Batch {
	t.Helper()
	store := &batches{}
	j := journal.New(store, zap.NewNop(), budget)
	q, m := emptyMesh(t, j)
	fill(j, func(member byte, body string, recipients int) {
		var to []queue.To
		for i := range recipients {
			to = append(to, queue.To{Mailbox: queue.Mailbox{Mesh: mesh, Name: string(rune(i))}})
		}
		m.Accept(queue.Message{SenderMember: wire.ID{member}, Priority: wire.Next, TargetSpec: "x", Ciphertext: body}, to, func(queue.Result) {})
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { j.Run(ctx); close(done) }()
	if err := j.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	stop()
	<-done
	q.Stop()
	return store.list
}

// TestMembersTakeTurns checks that another member's message is in the next batch even if
// one member floods the journal, with many messages or with messages to many recipients.
func TestMembersTakeTurns(t *testing.T) {
	t.Parallel()
	for name, flood := range map[string]func(send func(byte, string, int)){
		"many messages": func(send func(byte, string, int)) {
			for range 1000 {
				send(1, "Ym9keQ==", 1)
			}
		},
		"to many recipients": func(send func(byte, string, int)) {
			for range 20 {
				send(1, "Ym9keQ==", 1000)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				list := inTurn(t, func(_ *journal.Journal, send func(byte, string, int)) {
					flood(send)
					send(2, "Ym9keQ==", 1)
				})
				if !slices.ContainsFunc(list[0].Messages, func(m *queue.Accepted) bool { return m.SenderMember == wire.ID{2} }) {
					t.Error("the other member's message is not in the first batch")
				}
				rows := 0
				for _, m := range list[0].Messages {
					rows += len(m.Recipients)
				}
				if rows > 6000 {
					t.Errorf("the first batch has %d rows, want at most 6000", rows)
				}
			})
		})
	}
}

// TestCloseIsNotStarved checks that a mailbox is closed as soon as the messages accepted
// before its end are stored, even if many more messages follow.
func TestCloseIsNotStarved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		list := inTurn(t, func(j *journal.Journal, send func(byte, string, int)) {
			for range 300 {
				send(1, "Ym9keQ==", 1)
			}
			j.Close(queue.Closing{Mailbox: queue.Mailbox{Mesh: mesh, Name: "s/somebody"}})
			for range 1000 {
				send(1, "Ym9keQ==", 1)
			}
		})
		at := slices.IndexFunc(list, func(b journal.Batch) bool { return len(b.Closed) == 1 })
		if at != 1 || len(list) != 6 {
			t.Errorf("closed in batch %d of %d, want the second of six", at+1, len(list))
		}
	})
}

// busy is a store during whose commits more is added to the journal.
type busy struct {
	batches
	add func()
}

func (b *busy) Commit(ctx context.Context, batch *journal.Batch) ([]journal.Duplicate, error) {
	b.add()
	return b.batches.Commit(ctx, batch)
}

// TestFlushIsNotStarved checks that Flush returns once everything added before it is stored,
// even if more than a batch is added during each commit.
func TestFlushIsNotStarved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &busy{}
		j := journal.New(store, zap.NewNop(), budget)
		q, m := emptyMesh(t, j)
		var stored atomic.Int64
		send := func(n int, member byte, told func(queue.Result)) {
			for range n {
				m.Accept(queue.Message{SenderMember: wire.ID{member}, TargetSpec: "x"}, []queue.To{{}}, told)
			}
		}
		store.add = func() {
			send(300, 2, func(queue.Result) {})
			j.Record(event("later"))
			j.Remember(journal.Hello{Mesh: mesh})
		}
		send(1000, 1, func(queue.Result) { stored.Add(1) })
		j.Record(event("before"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { j.Run(ctx); close(done) }()
		patient, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := j.Flush(patient); err != nil {
			t.Error(err)
		}
		if n := stored.Load(); n != 1000 {
			t.Errorf("Flush returned when %d messages were stored, want 1000", n)
		}
		stop()
		<-done
		q.Stop()
	})
}

// TestMessagesAreGivenBackAlone checks that a storage failure of some seconds refuses the
// messages of a batch, and that the rest of the batch is committed once.
func TestMessagesAreGivenBackAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &batches{failed: 100}
		j := journal.New(store, zap.NewNop(), budget)
		q, m := emptyMesh(t, j)
		var given atomic.Int64
		for range 300 {
			m.Accept(queue.Message{SenderMember: wire.ID{1}, TargetSpec: "x"}, []queue.To{{}}, func(r queue.Result) {
				if errors.Is(r.Err, queue.ErrUnavailable) {
					given.Add(1)
				}
			})
		}
		j.Record(event("kept"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { j.Run(ctx); close(done) }()
		time.Sleep(4 * time.Second)
		if given.Load() != 0 || j.TryReserve(wire.ID{2}, 1) {
			t.Errorf("after 4 s %d messages were refused, want none, and the budget still taken", given.Load())
		}
		waits := make(chan error)
		go func() { waits <- j.Reserve(t.Context(), wire.ID{2}, budget) }() // succeeds only once the whole budget is free
		time.Sleep(3 * time.Second)
		if given.Load() != 300 {
			t.Errorf("after 7 s %d messages were refused, want 300", given.Load())
		}
		if err := <-waits; err != nil {
			t.Error(err)
		}
		j.Release(wire.ID{2}, budget)
		stop()
		<-done
		q.Stop()
		if len(store.list) != 1 || len(store.list[0].Messages) != 0 || len(store.list[0].Audit) != 1 {
			t.Errorf("committed %+v, want one batch with one audit entry and no message", store.list)
		}
	})
}
