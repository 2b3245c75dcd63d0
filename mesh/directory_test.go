package mesh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/claudemesh/claudemesh/wire"
)

func TestGetLoadsOnce(t *testing.T) {
	t.Parallel()
	w := setup(t)
	d := NewDirectory(w.store, roomForAll)
	before := w.store.loads
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			v, err := d.Get(t.Context(), w.mesh.ID)
			if err != nil {
				t.Error(err)
				return
			}
			if m, ok := v.Member(w.ownerKey.Public()); !ok || m.ID != w.owner.ID {
				t.Errorf("owner not found: %+v", m)
			}
		})
	}
	wg.Wait()
	if n := w.store.loads - before; n != 1 {
		t.Errorf("loaded %d times, want once", n)
	}
}

func TestUnknownMeshTakesNoMemory(t *testing.T) {
	t.Parallel()
	d := NewDirectory(newMemStore(), roomForAll)
	if _, err := d.Get(t.Context(), wire.ID{1}); !errors.Is(err, ErrMeshNotFound) {
		t.Errorf("error %v, want ErrMeshNotFound", err)
	}
	if len(d.slots) != 0 {
		t.Errorf("got %d slots, want none", len(d.slots))
	}
}

// blockingStore blocks each load until the test releases it or its context ends.
type blockingStore struct {
	*memStore
	goOn chan struct{}
}

func (s blockingStore) Mesh(ctx context.Context, id wire.ID) (Mesh, []Member, error) {
	select {
	case <-s.goOn:
		return s.memStore.Mesh(ctx, id)
	case <-ctx.Done():
		return Mesh{}, nil, ctx.Err()
	}
}

// TestLoaderThatGoesAway checks that a caller that waits for another caller's load does not
// fail when the other caller's context ends.
func TestLoaderThatGoesAway(t *testing.T) {
	t.Parallel()
	w := setup(t)
	synctest.Test(t, func(t *testing.T) {
		store := blockingStore{w.store, make(chan struct{})}
		d := NewDirectory(store, roomForAll)
		first, cancel := context.WithCancel(t.Context())
		results := make(chan error, 2)
		go func() { _, err := d.Get(first, w.mesh.ID); results <- err }()
		synctest.Wait()
		go func() { _, err := d.Get(t.Context(), w.mesh.ID); results <- err }()
		synctest.Wait()
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("first: %v, want context.Canceled", err)
		}
		close(store.goOn)
		if err := <-results; err != nil {
			t.Errorf("second: %v", err)
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	w := setup(t)
	v, err := w.lock(t.Context(), w.mesh.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer v.unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Remove(ctx, w.asOwner, w.normalKey.Public(), testNow); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if w.Forget(w.mesh.ID) {
		t.Error("a mesh was forgotten while it was being changed")
	}
}

func TestForget(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if got := w.Loaded(); len(got) != 1 || got[0] != w.mesh.ID {
		t.Errorf("got loaded meshes %v, want one", got)
	}
	if !w.Forget(w.mesh.ID) || w.Forget(w.mesh.ID) || len(w.Loaded()) != 0 {
		t.Error("the mesh was not forgotten once")
	}
	if _, _, err := w.SetRole(t.Context(), w.asOwner, w.normalKey.Public(), Admin); err != nil {
		t.Fatal(err)
	}
	if m := w.member(w.normalKey); m.Role != Admin {
		t.Errorf("role %s after the mesh was loaded again", m.Role)
	}
}

// TestForgetWhileChanging checks that no change gets lost when a mesh is forgotten and
// loaded again.
func TestForgetWhileChanging(t *testing.T) {
	t.Parallel()
	w := setup(t)
	stop := make(chan struct{})
	var forgetting, changing sync.WaitGroup
	forgetting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.Forget(w.mesh.ID)
			}
		}
	})
	for i := range 4 {
		changing.Go(func() {
			key := [...]wire.Key{w.ownerKey.Public(), w.adminKey.Public(), w.admin2Key.Public()}[i%3]
			for n := range 50 {
				caps := []string{GrantDM, GrantRead}[n%2 : n%2+1]
				if _, err := w.SetGrant(t.Context(), w.asNormal, key, caps, false); err != nil {
					t.Error(err)
				}
			}
		})
	}
	changing.Wait()
	close(stop)
	forgetting.Wait()
	inMemory := w.member(w.normalKey).Grants
	inStore := w.store.members[w.asNormal.MemberID].Grants
	if len(inStore) != 3 || fmt.Sprint(inMemory) != fmt.Sprint(inStore) {
		t.Errorf("memory has %v, the store has %v", inMemory, inStore)
	}
}

// TestWriterThatWaitedTooLong checks that a change that waits for the lock of a mesh while
// the mesh is forgotten goes to the mesh that is loaded next.
func TestWriterThatWaitedTooLong(t *testing.T) {
	t.Parallel()
	w := setup(t)
	synctest.Test(t, func(t *testing.T) {
		d := NewDirectory(w.store, roomForAll)
		old, err := d.lock(t.Context(), w.mesh.ID)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, _, err := d.SetRole(t.Context(), w.asOwner, w.normalKey.Public(), Admin)
			done <- err
		}()
		synctest.Wait() // until the change waits for the lock
		d.mu.Lock()
		old.forgotten = true
		delete(d.slots, w.mesh.ID)
		d.mu.Unlock()
		fresh, err := d.Get(t.Context(), w.mesh.ID)
		if err != nil {
			t.Fatal(err)
		}
		old.unlock()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if m, _ := fresh.Member(w.normalKey.Public()); m.Role != Admin {
			t.Errorf("the mesh in use shows %s", m.Role)
		}
	})
}

// TestUnknownFate checks that the Directory detects, before the next change, a write that
// succeeded although it returned an error.
func TestUnknownFate(t *testing.T) {
	t.Parallel()
	w := setup(t)
	lost := errors.New("connection lost")
	w.store.setFault(func(method string, done bool) error {
		if method == "UpdateMember" && done || method == "Mesh" {
			return lost
		}
		return nil
	})
	if _, err := w.Remove(t.Context(), w.asOwner, w.normalKey.Public(), testNow); !errors.Is(err, lost) {
		t.Fatalf("error %v, want the storage's own", err)
	}
	// Lookups in memory still work, but changes fail.
	if m := w.member(w.normalKey); m.Removed() {
		t.Error("memory shows a removal whose outcome is unknown")
	}
	if _, err := w.SetGrant(t.Context(), w.asNormal, w.adminKey.Public(), nil, false); !errors.Is(err, lost) {
		t.Errorf("error %v, want the storage's own", err)
	}

	w.store.setFault(nil)
	_, err := w.SetGrant(t.Context(), w.asNormal, w.adminKey.Public(), nil, false)
	wantCode(t, err, wire.CodeForbidden)
	if m := w.store.members[w.asNormal.MemberID]; !m.Removed() {
		t.Error("the removal was undone")
	}
	m, err := w.Remove(t.Context(), w.asOwner, w.normalKey.Public(), testNow)
	if err != nil || !m.Removed() {
		t.Errorf("repeated removal: %+v, %v", m, err)
	}
}

func TestUnknownFateIsFoundByReaders(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.store.setFault(func(method string, done bool) error {
		if method == "UpdateMember" && done {
			return errors.New("connection lost")
		}
		return nil
	})
	w.Remove(t.Context(), w.asOwner, w.normalKey.Public(), testNow)
	if m := w.member(w.normalKey); !m.Removed() {
		t.Error("a reader got the state from before the removal")
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	w := setup(t)
	if _, err := w.Remove(t.Context(), w.asOwner, w.adminKey.Public(), testNow); err != nil {
		t.Fatal(err)
	}
	v, err := w.Get(t.Context(), w.mesh.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := []wire.Key{w.ownerKey.Public(), w.adminKey.Public(), w.admin2Key.Public(), w.normalKey.Public()}
	if v.Mesh() != w.mesh {
		t.Errorf("mesh %+v, want %+v", v.Mesh(), w.mesh)
	}
	got := v.Members()
	if len(got) != len(want) {
		t.Fatalf("%d members, want %d", len(got), len(want))
	}
	for i, m := range got {
		if m.Key != want[i] {
			t.Errorf("member %d is %s, want %s", i, m.Key.Short(), want[i].Short())
		}
	}
	if _, ok := v.Member(wire.Key{}); ok {
		t.Error("a member has the zero key")
	}
	if row := got[1].Row(); !row.Removed || row.Role != "admin" || row.Pubkey != want[1] || row.ID != w.asAdmin.MemberID {
		t.Errorf("row %+v", row)
	}
}

func TestLookupsAllocateNothing(t *testing.T) {
	w := setup(t)
	v, err := w.Get(t.Context(), w.mesh.ID)
	if err != nil {
		t.Fatal(err)
	}
	key, id, ctx := w.normalKey.Public(), w.asNormal.MemberID, t.Context()
	for name, lookup := range map[string]func() bool{
		"Get":        func() bool { got, err := w.Get(ctx, w.mesh.ID); return err == nil && got == v },
		"Member":     func() bool { _, ok := v.Member(key); return ok },
		"MemberByID": func() bool { _, ok := v.MemberByID(id); return ok },
		"Allows":     func() bool { m, _ := v.Member(key); return m.Allows(w.owner.Key, GrantDM) },
	} {
		ok := true
		if n := testing.AllocsPerRun(100, func() { ok = lookup() && ok }); n != 0 || !ok {
			t.Errorf("%s: %v allocations, result %v", name, n, ok)
		}
	}
}

func BenchmarkMember(b *testing.B) {
	members := make([]Member, 1000)
	for i := range members {
		members[i].ID = wire.ID{byte(i), byte(i >> 8), 1}
		members[i].Key = wire.Key{byte(i), byte(i >> 8), 1}
	}
	v := newView(Mesh{}, members)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, ok := v.Member(members[i%len(members)].Key); !ok {
				b.Error("the member was not found")
			}
		}
	})
}
