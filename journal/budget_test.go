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

// fill reserves as much in small pieces as one member gets without waiting.
func fill(j *journal.Journal, member wire.ID) (got int64) {
	for j.TryReserve(member, 1000) {
		got += 1000
	}
	return got
}

// However much a member wants, there is room for others who want little.
func TestBudgetIsSharedOut(t *testing.T) {
	t.Parallel()
	j := journal.New(nil, zap.NewNop(), budget)
	for i := range 4 {
		got := fill(j, wire.ID{byte(i)})
		switch {
		case i == 0 && got != 80_000:
			t.Errorf("a member alone got %d", got)
		case got == 0:
			t.Errorf("member %d got nothing", i)
		}
	}
	got := fill(j, wire.ID{0})
	if got != 0 {
		t.Errorf("the first got %d more", got)
	}
}

// Whoever has the least comes first, and what it waits for is kept for it.
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
			t.Error("a small one got past the one who waits")
		}
		for range 39 {
			j.Release(greedy, 1000)
			synctest.Wait()
		}
		if len(order) > 0 {
			t.Errorf("%v got in too early", order)
		}
		for range got/1000 - 39 {
			j.Release(greedy, 1000)
			synctest.Wait()
		}
		if !slices.Equal(order, []string{"modest", "greedy", "greedy"}) {
			t.Errorf("the order was %v", order)
		}
		if !j.TryReserve(third, 1000) {
			t.Error("there is room, and nobody gets it")
		}
	})
}

// What costs more than the budget goes alone.
func TestLargeGoesAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := journal.New(nil, zap.NewNop(), budget)
		if !j.TryReserve(wire.ID{1}, 1000) || j.TryReserve(wire.ID{2}, 2*budget) {
			t.Fatal("beside another")
		}
		done := make(chan error)
		go func() { done <- j.Reserve(t.Context(), wire.ID{2}, 2*budget) }()
		synctest.Wait()
		j.Release(wire.ID{1}, 1000)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if j.TryReserve(wire.ID{1}, 1) {
			t.Error("beside it")
		}
		j.Release(wire.ID{2}, 2*budget)
		if !j.TryReserve(wire.ID{1}, 1) {
			t.Error("after it")
		}
	})
}

// Who gives up waiting is not in the way of others, nor has taken anything.
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
				t.Fatalf("%v", err)
			}
			if err := wait(wire.ID{1}, 1000); !errors.Is(err, queue.ErrFull) {
				t.Fatalf("%v", err)
			}
		}
		if !j.TryReserve(wire.ID{3}, 1000) {
			t.Error("there is room, and nobody gets it")
		}
	})
}

// batches is a store that keeps what is committed.
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

// marks is a store of meshes in which nothing was sent yet.
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

// inTurn runs a journal over a store in virtual time, and returns what was committed.
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

// One member's flood does not keep another member's message from the next batch, be it
// many messages or messages to many.
func TestMembersTakeTurns(t *testing.T) {
	t.Parallel()
	for name, flood := range map[string]func(send func(byte, string, int)){
		"many": func(send func(byte, string, int)) {
			for range 1000 {
				send(1, "Ym9keQ==", 1)
			}
		},
		"to many": func(send func(byte, string, int)) {
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
					t.Error("it is not in the first batch")
				}
				rows := 0
				for _, m := range list[0].Messages {
					rows += len(m.Recipients)
				}
				if rows > 6000 {
					t.Errorf("a batch has %d rows", rows)
				}
			})
		})
	}
}

// A mailbox is closed once what was put into it before is stored, however much is
// accepted after that.
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

// A failure of seconds gives messages back; what else was in the batch is committed once.
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
			t.Errorf("after 4 s %d were given back", given.Load())
		}
		waits := make(chan error)
		go func() { waits <- j.Reserve(t.Context(), wire.ID{2}, budget) }() // all of it must have been given back
		time.Sleep(3 * time.Second)
		if given.Load() != 300 {
			t.Errorf("after 7 s %d were given back", given.Load())
		}
		if err := <-waits; err != nil {
			t.Error(err)
		}
		j.Release(wire.ID{2}, budget)
		stop()
		<-done
		q.Stop()
		if len(store.list) != 1 || len(store.list[0].Messages) != 0 || len(store.list[0].Audit) != 1 {
			t.Errorf("committed %+v", store.list)
		}
	})
}
