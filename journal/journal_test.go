package journal_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("storage is away")

// guarded is a real store. A test can make its commits wait or fail.
type guarded struct {
	*sqlite.Store
	away    atomic.Bool
	fork    atomic.Bool // before the next commit, another writer extends the chain
	gate    chan struct{}
	commits atomic.Int64
}

func (g *guarded) Commit(ctx context.Context, b *journal.Batch) ([]journal.Duplicate, error) {
	if g.gate != nil {
		<-g.gate
	}
	if g.away.Load() {
		return nil, errAway
	}
	if len(b.Audit) > 0 && g.fork.CompareAndSwap(true, false) {
		head, err := g.AuditHead(ctx, b.Audit[0].MeshID)
		if err != nil {
			return nil, err
		}
		other, _ := audit.Extend(head, event("another writer"))
		if _, err := g.Store.Commit(ctx, &journal.Batch{Audit: []audit.Entry{other}}); err != nil {
			return nil, err
		}
	}
	g.commits.Add(1)
	return g.Store.Commit(ctx, b)
}

var mesh = wire.ID{1}

func event(slug string) audit.Event {
	return audit.NewEvent(mesh, time.Now(), audit.Broker, audit.MeshCreatedDetail{Slug: slug})
}

func start(t *testing.T, gate chan struct{}) (*guarded, *journal.Journal, *queue.Mesh) {
	t.Helper()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	g := &guarded{Store: store, gate: gate}
	j := journal.New(g, zaptest.NewLogger(t), journal.DefaultBudget)
	q := queue.New(g, j, func() queue.Settings { return queue.Settings{DeliveryLease: time.Minute} })
	m, err := q.Load(context.Background(), mesh)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { j.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		q.Stop()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return g, j, m
}

func flush(t *testing.T, j *journal.Journal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	if err := j.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func send(m *queue.Mesh) chan queue.Result {
	told := make(chan queue.Result, 1)
	box := queue.Mailbox{Mesh: mesh, Name: "s/somebody"}
	m.Accept(queue.Message{Priority: wire.Next, TargetSpec: "x", Ciphertext: "Ym9keQ=="},
		[]queue.To{{Mailbox: box}}, func(r queue.Result) { told <- r })
	return told
}

func chain(t *testing.T, g *guarded) []audit.Entry {
	t.Helper()
	entries, err := g.AuditEntries(context.Background(), mesh, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.VerifyMesh(context.Background(), g, mesh); err != nil {
		t.Fatal(err)
	}
	return entries
}

// TestMessagesShareCommits checks that messages accepted during a commit share the next
// one.
func TestMessagesShareCommits(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	g, j, q := start(t, gate)
	first := send(q)
	gate <- struct{}{} // the first commit has begun
	var fates []chan queue.Result
	for range 200 {
		fates = append(fates, send(q))
	}
	close(gate)
	for _, fate := range append(fates, first) {
		if r := <-fate; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	flush(t, j)
	if n := g.commits.Load(); n > 4 {
		t.Errorf("201 messages took %d commits, want at most 4", n)
	}
	if n := len(chain(t, g)); n != 201 {
		t.Errorf("got %d audit entries, want 201", n)
	}
}

// TestAwayRefusesAndKeepsTheRest checks that the journal refuses messages while the
// storage is away, and stores presences and audit events once it is back.
func TestAwayRefusesAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	g, j, q := start(t, nil)
	g.away.Store(true)
	j.Save([]presence.Record{{MeshID: mesh, Identity: "s/one", ID: wire.ID{7}, Status: wire.Idle, Role: wire.RoleSession, Summary: "kept"}})
	j.Record(event("kept"))
	if r := <-send(q); !errors.Is(r.Err, queue.ErrUnavailable) {
		t.Fatalf("send while the storage is away: got %v, want ErrUnavailable", r.Err)
	}
	g.away.Store(false)
	flush(t, j)
	if err := j.Down(); err != nil {
		t.Fatalf("the journal is down although the storage is back: %v", err)
	}
	if r := <-send(q); r.Err != nil {
		t.Fatal(r.Err)
	}
	records, err := g.Presences(context.Background(), mesh)
	if err != nil || len(records) != 1 || records[0].Summary != "kept" {
		t.Fatalf("got presences %+v, %v; want the saved one", records, err)
	}
	entries := chain(t, g)
	if len(entries) != 2 || entries[0].Kind != audit.MeshCreated || entries[1].Kind != audit.Routed {
		t.Fatalf("got audit entries %+v, want one MeshCreated and one Routed; the refused message must not be there", entries)
	}
}

// TestPresenceUntilStored checks that a saved record can be read at any time: from the
// journal until it is in the store.
func TestPresenceUntilStored(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	g, j, _ := start(t, gate)
	id := presence.Identity("s/one")
	known := func() bool {
		if _, ok := j.Presence(mesh, id); ok {
			return true
		}
		_, ok, err := g.LastPresence(context.Background(), mesh, id)
		return ok && err == nil
	}
	j.Save([]presence.Record{{MeshID: mesh, Identity: id, ID: wire.ID{7}, Status: wire.Idle, Role: wire.RoleSession}})
	done := make(chan struct{})
	go func() { flush(t, j); close(done) }()
	for open := true; open; {
		if !known() {
			t.Error("the record is neither in the journal nor in the store")
		}
		select {
		case gate <- struct{}{}:
		case <-done:
			open = false
		}
	}
	if _, ok := j.Presence(mesh, id); ok {
		t.Error("the journal keeps the record although it is stored")
	}
}

// TestForkedChainIsContinued checks that the journal continues an audit chain that another
// writer has extended.
func TestForkedChainIsContinued(t *testing.T) {
	t.Parallel()
	g, j, q := start(t, nil)
	j.Record(event("first"))
	flush(t, j)
	g.fork.Store(true)
	if r := <-send(q); r.Err != nil {
		t.Fatal(r.Err)
	}
	flush(t, j)
	if entries := chain(t, g); len(entries) != 3 {
		t.Fatalf("got %d entries, want 3", len(entries))
	}
}

// TestCloseComesAfterMessages checks that a mailbox is closed after the messages accepted
// before its end.
func TestCloseComesAfterMessages(t *testing.T) {
	t.Parallel()
	gate := make(chan struct{})
	_, j, m := start(t, gate)
	var fates []chan queue.Result
	for range 600 { // more than two batches
		fates = append(fates, send(m))
	}
	m.End(queue.Mailbox{Mesh: mesh, Name: "s/somebody"})
	close(gate)
	flush(t, j)
	for _, fate := range fates {
		r := <-fate
		found, err := m.Find(context.Background(), r.MessageID.String(), 1)
		if err != nil || len(found) != 1 || found[0].Recipients[0].State != queue.Gone {
			t.Fatalf("got %+v, %v; want one message whose recipient is gone", found, err)
		}
	}
}
