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

// View is a mesh and its members in memory. It follows every change until its
// Directory forgets the mesh. Lookups allocate nothing. The Members it gives are
// shared and must not be changed; one that was looked up is as it was then, so
// look it up again to know its role and grants now.
type View struct {
	mesh Mesh // static

	// writing is held, by a value in it, while a change is under way in the Store
	// and in memory. A channel, because its wait must end with the caller's.
	writing   chan struct{}
	forgotten bool        // guarded by writing
	unsure    atomic.Bool // memory may differ from the Store; set and cleared while writing is held

	mu    sync.RWMutex // held for memory only, never for I/O
	byID  map[wire.ID]*Member
	byKey map[wire.Key]*Member // without those that have none
}

func newView(m Mesh, members []Member) *View {
	v := &View{mesh: m, writing: make(chan struct{}, 1)}
	v.replace(members)
	return v
}

// Mesh returns the mesh itself. It never changes.
func (v *View) Mesh() Mesh { return v.mesh }

// Member finds a member by its key, also one who was removed.
func (v *View) Member(key wire.Key) (*Member, bool) {
	v.mu.RLock()
	m, ok := v.byKey[key]
	v.mu.RUnlock()
	return m, ok
}

// MemberByID finds a member by its id, also one who was removed or who has no
// key yet.
func (v *View) MemberByID(id wire.ID) (*Member, bool) {
	v.mu.RLock()
	m, ok := v.byID[id]
	v.mu.RUnlock()
	return m, ok
}

// Members returns all members who have a key, removed ones too, in the order in
// which they joined. The slice is the caller's.
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

// size returns how many members there are: who was removed is none.
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

// put takes over a member as the Store has it now. The caller holds writing.
func (v *View) put(m Member) *Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byID[m.ID] = &m
	if !m.Key.IsZero() {
		v.byKey[m.Key] = &m
	}
	return &m
}

// replace takes over all members as the Store has them now. The caller holds
// writing, or is the only one who has v.
func (v *View) replace(members []Member) {
	byID := make(map[wire.ID]*Member, len(members))
	byKey := make(map[wire.Key]*Member, len(members))
	for i := range members {
		// Copied one by one: a pointer into the slice would keep all of it alive
		// after this member was replaced.
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

// unlock ends the right to change the mesh.
func (v *View) unlock() { <-v.writing }

// reload reads the members again if memory may differ from the Store. The caller
// holds writing.
func (v *View) reload(ctx context.Context, store Store) error {
	if !v.unsure.Load() {
		return nil
	}
	_, members, err := store.Mesh(ctx, v.mesh.ID)
	if err != nil {
		return fmt.Errorf("reload mesh %s: %w", v.mesh.ID, err)
	}
	v.replace(members)
	v.unsure.Store(false)
	return nil
}

// checked notes whether a write of the Store left memory behind: an error that
// is none of the Store's rules says nothing about whether the write took place.
// The caller holds writing.
func (v *View) checked(err error) error {
	if err != nil && ruleOf(err) == nil {
		v.unsure.Store(true)
	}
	return err
}

// bearer returns a member, not removed, that has a name or one that it looks like; nil
// when there is none. Of two that look alike, one that is plain ASCII is not to blame.
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
