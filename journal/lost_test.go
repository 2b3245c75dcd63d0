package journal_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// shared is a real store that other brokers own parts of.
type shared struct {
	*sqlite.Store
	mu     sync.Mutex
	others map[wire.ID]bool
	stored []wire.ID // meshes of the batches that were stored
}

func (s *shared) turn(mesh wire.ID, other bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others[mesh] = other
}

func (s *shared) Commit(ctx context.Context, b *journal.Batch) ([]journal.Duplicate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := &journal.LostError{}
	for _, id := range b.Meshes() {
		if s.others[id] {
			lost.Meshes = append(lost.Meshes, id)
		}
	}
	if len(lost.Meshes) > 0 {
		return nil, lost
	}
	s.stored = append(s.stored, b.Meshes()...)
	return s.Store.Commit(ctx, b)
}

// losses is told which meshes are lost.
type losses chan []wire.ID

func (losses) Stored(int, time.Duration)   {}
func (losses) Failed(error)                {}
func (l losses) Lost(meshes []wire.ID)     { l <- meshes }
func (l losses) next(t *testing.T) wire.ID { t.Helper(); return (<-l)[0] }

// TestLostMesh checks that the journal drops what concerns a mesh that another broker owns, and
// stores the rest. It stores nothing of the mesh before Drop, even if the broker owns the mesh
// again by then.
func TestLostMesh(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "journal.db"))
	if err == nil {
		err = store.Migrate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &shared{Store: store, others: make(map[wire.ID]bool)}
	j := journal.New(s, zaptest.NewLogger(t), journal.DefaultBudget)
	told := make(losses, 16)
	j.Watch(told)
	q := queue.New(s, j, func() queue.Settings { return queue.Settings{DeliveryLease: time.Minute} })
	ctx, stop := context.WithCancel(t.Context())
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
	mine, other := wire.ID{1}, wire.ID{2}
	everything := func(id wire.ID) chan queue.Result {
		m, err := q.Load(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		fate := make(chan queue.Result, 1)
		box := queue.Mailbox{Mesh: id, Name: "s/somebody"}
		m.Accept(queue.Message{SenderMember: id, Priority: wire.Next, TargetSpec: "x", Ciphertext: "Ym9keQ=="}, []queue.To{{Mailbox: box}},
			func(r queue.Result) { fate <- r })
		m.End(box)
		j.Record(audit.NewEvent(id, time.Now(), audit.Broker, audit.MeshCreatedDetail{}))
		j.Remember(journal.Hello{Mesh: id, At: time.Now()})
		j.Save([]presence.Record{{MeshID: id, Identity: "s/x", Status: wire.Idle}})
		return fate
	}
	s.turn(other, true)
	lost, kept := everything(other), everything(mine)
	if r := <-kept; r.Err != nil {
		t.Errorf("the message of the broker's own mesh: %v", r.Err)
	}
	if r := <-lost; !errors.Is(r.Err, queue.ErrUnavailable) {
		t.Errorf("the message of the other's mesh: %v", r.Err)
	}
	if id := told.next(t); id != other {
		t.Errorf("the observer got mesh %s", id)
	}
	if got := j.Lost([]wire.ID{mine, other}); !slices.Equal(got, []wire.ID{other}) {
		t.Errorf("Lost returned %v", got)
	}
	patient, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	save := func() error {
		return j.SaveNow(patient, presence.Record{MeshID: other, Identity: "s/y", Status: wire.Idle})
	}
	if err := save(); !errors.Is(err, journal.ErrMoved) {
		t.Errorf("SaveNow of a presence of the other's mesh: %v, want ErrMoved", err)
	}
	flush(t, j)
	if _, ok := j.Presence(other, "s/x"); ok {
		t.Error("the journal still has a presence that it has dropped")
	}
	if j.Down() != nil {
		t.Errorf("the storage counts as unreachable: %v", j.Down())
	}

	s.turn(other, false) // the broker gets it back before it has noticed
	again := everything(other)
	if r := <-again; !errors.Is(r.Err, queue.ErrUnavailable) {
		t.Errorf("a message before Drop: %v", r.Err)
	}
	flush(t, j)
	for _, id := range s.stored {
		if id == other {
			t.Error("the journal stored something of the lost mesh")
		}
	}
	if err := j.Drop(patient, []wire.ID{other}); err != nil {
		t.Fatal(err)
	}
	if got := j.Lost([]wire.ID{mine, other}); len(got) > 0 {
		t.Errorf("Lost returned %v after Drop", got)
	}
	if !q.Forget(other) {
		t.Error("the queue did not forget the mesh")
	}
	if r := <-everything(other); r.Err != nil {
		t.Errorf("a message after Drop: %v", r.Err)
	}
	if err := save(); err != nil {
		t.Errorf("SaveNow after Drop: %v", err)
	}
	flush(t, j)
	if _, err := audit.VerifyMesh(t.Context(), s, other); err != nil {
		t.Error(err)
	}
	if used := j.Stats().Used; used != 0 {
		t.Errorf("%d bytes of the budget are in use", used)
	}
}
