package broker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// kept is a storage that holds the last state of each mesh.
type kept struct {
	Storage
	let   chan struct{} // Presences waits until it is closed
	loads map[wire.ID]int
	known []presence.Known
}

var loadedMesh = wire.ID{1}

const keptSeq = 41

func (k *kept) Mesh(_ context.Context, id wire.ID) (mesh.Mesh, []mesh.Member, error) {
	return mesh.Mesh{ID: id}, nil, nil
}

func (k *kept) Presences(ctx context.Context, id wire.ID) ([]presence.Record, error) {
	select {
	case <-k.let:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	k.loads[id]++
	return []presence.Record{{MeshID: id, Identity: "h/somebody", ID: wire.ID{7}, Status: wire.Idle}}, nil
}

func (k *kept) KnownSessions(context.Context, wire.ID) ([]presence.Known, error) { return k.known, nil }

func (k *kept) Mark(context.Context, wire.ID) (queue.Mark, error) {
	return queue.Mark{Seq: keptSeq}, nil
}

func (k *kept) Burden(context.Context, wire.ID) (queue.Burden, error) { return queue.Burden{}, nil }

func (k *kept) Find(context.Context, wire.ID, string, int) ([]queue.Accepted, error) { return nil, nil }

func (k *kept) Hellos(_ context.Context, id wire.ID, since time.Time) ([]journal.Hello, error) {
	h := journal.Hello{Mesh: id, Signature: wire.Signature{id[0]}, At: time.Now().Add(-time.Second)}
	if h.At.Before(since) {
		return nil, nil
	}
	return []journal.Hello{h}, nil
}

// opened returns a broker that reached its storage an hour ago.
func opened(k *kept) *Broker {
	b := New(Options{Storage: k, Settings: DefaultSettings(), Log: zap.NewNop()})
	b.notOpen = nil
	time.Sleep(time.Hour)
	return b
}

// TestLoad checks that concurrent requests load a mesh once, that its leases start then,
// and that the broker knows the hellos it accepted before for this mesh only.
func TestLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := &kept{let: make(chan struct{}), loads: make(map[wire.ID]int)}
		b := opened(k)
		rooms := make(chan *room)
		for range 8 {
			go func() {
				r, err := b.room(t.Context(), loadedMesh)
				if err != nil {
					t.Error(err)
				}
				rooms <- r
			}()
		}
		synctest.Wait()
		time.Sleep(time.Second)
		close(k.let)
		r := <-rooms
		for range 7 {
			if other := <-rooms; other != r {
				t.Error("one mesh has two rooms")
			}
		}
		if n := k.loads[loadedMesh]; n != 1 {
			t.Errorf("loaded %d times, want once", n)
		}
		if got, want := r.presences.All()[0].LeaseUntil, time.Now().Add(b.Settings().PresenceLease); !got.Equal(want) {
			t.Errorf("got a lease until %v, want %v", got, want)
		}
		if err := b.replays.Accept(wire.Key{1}, wire.Signature{loadedMesh[0]}, time.Now()); !errors.Is(err, identity.ErrReplayed) {
			t.Errorf("a hello accepted before for this mesh: got %v, want ErrReplayed", err)
		}
		if err := b.replays.Accept(wire.Key{1}, wire.Signature{2}, time.Now()); err != nil {
			t.Errorf("a hello of another mesh was refused: %v", err)
		}
	})
}

// TestLoadOutlivesItsCaller checks that the callers that share a load get the mesh although the one
// that began it has given up.
func TestLoadOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := &kept{let: make(chan struct{}), loads: make(map[wire.ID]int)}
		b := opened(k)
		first, giveUp := context.WithCancel(t.Context())
		errs := make(chan error)
		load := func(ctx context.Context) {
			_, err := b.room(ctx, loadedMesh)
			errs <- err
		}
		go load(first)
		synctest.Wait()
		go load(t.Context())
		synctest.Wait()
		giveUp()
		synctest.Wait()
		close(k.let)
		for range 2 {
			if err := <-errs; err != nil {
				t.Errorf("load: %v", err)
			}
		}
	})
}

// TestForgetsSessionsThatTheStorageHasForgotten checks that a mesh that stays in memory does not
// keep the keys of all sessions that it has ever had.
func TestForgetsSessionsThatTheStorageHasForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stays, goes := presence.Known{SessionKey: wire.Key{1}}, presence.Known{SessionKey: wire.Key{2}}
		k := &kept{let: make(chan struct{}), loads: make(map[wire.ID]int), known: []presence.Known{stays, goes}}
		close(k.let)
		b := opened(k)
		r, err := b.room(t.Context(), loadedMesh)
		if err != nil {
			t.Fatal(err)
		}
		k.known = []presence.Known{stays}
		for _, pause := range []time.Duration{0, recheckEvery} {
			if err := b.recheckSessions(t.Context(), r.rechecked.Add(pause)); err != nil {
				t.Fatal(err)
			}
			if _, known := r.presences.Known(goes.SessionKey); known != (pause == 0) {
				t.Errorf("%s after the last check, the room knows the deleted key: %v, want %v", pause, known, pause == 0)
			}
		}
		if _, known := r.presences.Known(stays.SessionKey); !known {
			t.Error("a key that is stored was forgotten")
		}
	})
}

// TestForgetsWhatIsStored checks that an idle mesh stays in memory until its last message
// is stored. Otherwise the mesh would reuse the numbers of its deliveries.
func TestForgetsWhatIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := &kept{let: make(chan struct{}), loads: make(map[wire.ID]int)}
		close(k.let)
		b := opened(k)
		r, err := b.room(t.Context(), loadedMesh)
		if err != nil {
			t.Fatal(err)
		}
		r.presences.ExpireLeases(time.Now().Add(time.Hour))
		if r.presences.Len() > 0 {
			t.Fatal("a presence is left after its lease expired")
		}
		r.queue.Accept(queue.Message{}, []queue.To{{Mailbox: queue.Mailbox{Mesh: r.id, Name: "s/a"}}}, func(queue.Result) {})
		forget := func() {
			b.forgetMeshes(time.Now())
			time.Sleep(2 * meshIdle)
			b.forgetMeshes(time.Now())
		}
		if forget(); b.roomInMemory(loadedMesh) != r {
			t.Fatal("the mesh was forgotten before its message was stored")
		}
		r.mu.RLock()
		closed := r.closed
		r.mu.RUnlock()
		if closed {
			t.Error("the room is closed to new connections")
		}
		found, err := r.queue.Find(t.Context(), "0", 1)
		if err != nil || len(found) != 1 || found[0].Recipients[0].Seq != keptSeq+1 {
			t.Errorf("got %+v, %v; want the message with number %d", found, err, keptSeq+1)
		}
	})
}
