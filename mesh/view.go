package mesh

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"

	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// View is a mesh and its members in memory. It follows every change until its Directory
// forgets the mesh. Lookups don't allocate. The Members it returns are shared and
// immutable: look a member up again to see its current role and grants.
type View struct {
	mesh Mesh // static

	// writing is a lock for changes in the Store and in memory; a value in the channel
	// holds it. It is a channel so that waiting ends with the caller's context.
	writing   chan struct{}
	forgotten bool        // guarded by writing
	unsure    atomic.Bool // memory may differ from the Store; guarded by writing, read without it

	mu    sync.RWMutex // held for memory only, never for I/O
	byID  map[wire.ID]*Member
	byKey map[wire.Key]*Member // the members that have a key
}

func newView(m Mesh, members []Member) *View {
	v := &View{mesh: m, writing: make(chan struct{}, 1)}
	v.replaceLocked(members)
	return v
}

// Mesh returns the mesh itself. It never changes.
func (v *View) Mesh() Mesh { return v.mesh }

// Member finds a member by its key, even if the member was removed.
func (v *View) Member(key wire.Key) (*Member, bool) {
	v.mu.RLock()
	m, ok := v.byKey[key]
	v.mu.RUnlock()
	return m, ok
}

// MemberByID finds a member by its id, even if the member was removed or has no key yet.
func (v *View) MemberByID(id wire.ID) (*Member, bool) {
	v.mu.RLock()
	m, ok := v.byID[id]
	v.mu.RUnlock()
	return m, ok
}

// Members returns all members who have a key, including removed ones, in the order in
// which they joined. The caller owns the slice.
func (v *View) Members() []*Member {
	v.mu.RLock()
	list := make([]*Member, 0, len(v.byKey))
	for _, m := range v.byKey {
		list = append(list, m)
	}
	v.mu.RUnlock()
	slices.SortFunc(list, func(a, b *Member) int {
		return cmp.Or(a.JoinedAt.Compare(b.JoinedAt), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return list
}

// size returns the number of members who have a key and have not been removed.
func (v *View) size() (n int) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, m := range v.byID {
		if !m.Removed() && !m.Key.IsZero() {
			n++
		}
	}
	return n
}

// putLocked copies a member from the Store to memory. The caller holds writing.
func (v *View) putLocked(m Member) *Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byID[m.ID] = &m
	if !m.Key.IsZero() {
		v.byKey[m.Key] = &m
	}
	return &m
}

// replaceLocked copies all members from the Store to memory. The caller holds writing, or
// nobody else has v yet.
func (v *View) replaceLocked(members []Member) {
	byID := make(map[wire.ID]*Member, len(members))
	byKey := make(map[wire.Key]*Member, len(members))
	for i := range members {
		// Copy each member: a pointer into the slice would keep the whole slice alive
		// after a member is replaced.
		m := members[i]
		byID[m.ID] = &m
		if !m.Key.IsZero() {
			byKey[m.Key] = &m
		}
	}
	v.mu.Lock()
	v.byID, v.byKey = byID, byKey
	v.mu.Unlock()
}

// unlock releases writing.
func (v *View) unlock() { <-v.writing }

// reloadLocked reads the members again if memory may differ from the Store. The caller
// holds writing.
func (v *View) reloadLocked(ctx context.Context, store Store) error {
	if !v.unsure.Load() {
		return nil
	}
	_, members, err := store.Mesh(ctx, v.mesh.ID)
	if err != nil {
		return fmt.Errorf("reload mesh %s: %w", v.mesh.ID, err)
	}
	v.replaceLocked(members)
	v.unsure.Store(false)
	return nil
}

// checkedLocked marks memory as unsure after a failed write to the Store, unless a rule forbade
// the write: after any other error, the write may or may not have taken place. The caller
// holds writing.
func (v *View) checkedLocked(err error) error {
	if err != nil && ruleOf(err) == nil {
		v.unsure.Store(true)
	}
	return err
}

// bearer returns a member, not removed, whose name equals the given name or looks like
// it, or nil. A plain ASCII name isn't refused for looking like a name that imitates it.
func (v *View) bearer(name string) *Member {
	looks, plain := alike.Skeleton(name), isASCII(name)
	for _, m := range v.Members() {
		if m.Removed() || alike.Skeleton(m.DisplayName) != looks {
			continue
		}
		if strings.EqualFold(m.DisplayName, name) || !plain || isASCII(m.DisplayName) {
			return m
		}
	}
	return nil
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}
