package journal

import (
	"cmp"
	"container/heap"
	"container/list"
	"context"
	"fmt"
	"slices"

	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// DefaultBudget is how many bytes may wait in memory for the storage, as queue.Burden
	// counts them: what a busy machine sends in some hundred milliseconds.
	DefaultBudget = 16 << 20

	// greed bounds a member's share to greed times what is free. With 4, one member's
	// flood leaves a fifth of the budget free, that of two members a ninth.
	greed = 4

	// quantum is the cost of messages that a member may add to a batch before the next
	// member's turn.
	quantum = 4 << 10
)

// budget bounds what waits for the storage and divides it fairly among members. The member
// with the least waiting is admitted first, and batches take from all members in turn. So a
// member that sends more than the storage can take waits for its own messages only.
type budget struct {
	limit   int64
	used    int64
	entries int   // in the shares
	number  int64 // of the newest entry
	shut    bool  // nothing is admitted: the storage is unreachable
	shares  map[wire.ID]*share
	lined   lined    // shares for which a reservation waits
	turns   []*share // shares with entries, in the order of their turns
}

// share is one member's part of the budget. An empty share is forgotten.
type share struct {
	member  wire.ID
	used    int64
	entries []numbered // to be stored, in order
	credit  int64      // what the next entries taken may cost
	line    list.List  // of *reservation: waiting for room
	place   int        // in budget.lined
}

// numbered is an entry with its number, in the order of Accept.
type numbered struct {
	*queue.Entry
	number int64
}

// reservation waits for room.
type reservation struct {
	cost int64
	made chan struct{} // closed once there is room
}

// TryReserve reserves room for a member's message, if there is room and no other member
// comes first. Call Release once Accept has taken the message, or if it is not sent after
// all. cost is in bytes, as queue.Burden counts them.
func (j *Journal) TryReserve(member wire.ID, cost int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := &j.pending.budget
	s := b.share(member)
	if s.line.Len() > 0 || len(b.lined) > 0 && b.lined[0].used <= s.used || !b.fits(s, cost) {
		b.forget(s)
		return false
	}
	b.charge(s, cost)
	return true
}

// Reserve is TryReserve, but waits for room. If ctx ends first, it returns queue.ErrFull,
// or queue.ErrUnavailable if the storage is unreachable.
func (j *Journal) Reserve(ctx context.Context, member wire.ID, cost int64) error {
	if j.TryReserve(member, cost) {
		return nil
	}
	r := &reservation{cost, make(chan struct{})}
	j.mu.Lock()
	b := &j.pending.budget
	s := b.share(member)
	place := s.line.PushBack(r)
	if s.line.Len() == 1 {
		heap.Push(&b.lined, s)
	}
	b.admit() // there may be room by now
	j.mu.Unlock()
	select {
	case <-r.made:
		return nil
	case <-ctx.Done():
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case <-r.made:
		return nil
	default:
	}
	b.leave(s, place)
	b.admit()
	if j.down != nil {
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, errLost)
	}
	return queue.ErrFull
}

// Release gives back what was reserved.
func (j *Journal) Release(member wire.ID, cost int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := &j.pending.budget
	b.refund(b.share(member), cost)
	b.admit()
}

func (b *budget) share(member wire.ID) *share {
	s := b.shares[member]
	if s == nil {
		s = &share{member: member}
		b.shares[member] = s
	}
	return s
}

func (b *budget) forget(s *share) {
	if s.used == 0 && s.line.Len() == 0 && len(s.entries) == 0 {
		delete(b.shares, s.member)
	}
}

// fits reports whether there is room for a member's message. A member with nothing waiting
// may use all that is free. A message that costs more than the whole budget goes alone.
func (b *budget) fits(s *share, cost int64) bool {
	free := b.limit - b.used - cost
	switch {
	case b.shut:
		return false
	case s.used == 0:
		return free >= 0 || b.used == 0
	}
	return free >= 0 && s.used+cost <= greed*free
}

func (b *budget) charge(s *share, cost int64) {
	b.used += cost
	s.used += cost
	b.reorder(s)
}

func (b *budget) refund(s *share, cost int64) {
	b.charge(s, -cost)
	b.forget(s)
}

func (b *budget) reorder(s *share) {
	if s.line.Len() > 0 {
		heap.Fix(&b.lined, s.place)
	}
}

// admit grants the reservations that there is room for, in order. While the first one does
// not fit, the others wait; otherwise large messages would never be admitted.
func (b *budget) admit() {
	for len(b.lined) > 0 {
		s := b.lined[0]
		r := s.line.Front().Value.(*reservation)
		if !b.fits(s, r.cost) {
			return
		}
		b.charge(s, r.cost)
		b.leave(s, s.line.Front())
		close(r.made)
	}
}

// leave removes a reservation from its line.
func (b *budget) leave(s *share, place *list.Element) {
	s.line.Remove(place)
	if s.line.Len() == 0 {
		heap.Remove(&b.lined, s.place)
	}
	b.forget(s)
}

// add adds an entry, whether there is room for it or not.
func (b *budget) add(e *queue.Entry) {
	b.charge(b.share(e.Sender()), e.Cost())
	b.number++
	b.insert(numbered{e, b.number})
}

func (b *budget) insert(e numbered) {
	s := b.share(e.Sender())
	if len(s.entries) == 0 {
		b.turns = append(b.turns, s)
	}
	s.entries = append(s.entries, e)
	b.entries++
}

// take removes the entries of the next batch, from each member in turn: at most n, and no
// more once their cost has reached cost. They count against the budget until settle.
func (b *budget) take(n int, cost int64) []*queue.Entry {
	taken := make([]*queue.Entry, 0, min(n, b.entries))
	for len(b.turns) > 0 && len(taken) < n && cost > 0 {
		s := b.turns[0]
		s.credit += quantum
		for len(s.entries) > 0 && s.entries[0].Cost() <= s.credit && len(taken) < n && cost > 0 {
			e := s.entries[0].Entry
			s.entries[0] = numbered{}
			s.entries = s.entries[1:]
			s.credit -= e.Cost()
			cost -= e.Cost()
			taken = append(taken, e)
		}
		b.turns = b.turns[1:]
		if len(s.entries) > 0 {
			b.turns = append(b.turns, s)
		} else {
			s.entries, s.credit = nil, 0
		}
	}
	b.entries -= len(taken)
	return taken
}

// settle frees what entries took of the budget, once their fate is known.
func (b *budget) settle(entries []*queue.Entry) {
	for _, e := range entries {
		b.refund(b.share(e.Sender()), e.Cost())
	}
}

// takenUpTo returns the number up to which every entry has been taken.
func (b *budget) takenUpTo() int64 {
	last := b.number
	for _, s := range b.turns {
		last = min(last, s.entries[0].number-1)
	}
	return last
}

// empty removes all entries. They count against the budget until settle.
func (b *budget) empty() (all []numbered) {
	for _, s := range b.turns {
		all = append(all, s.entries...)
		s.entries, s.credit = nil, 0
	}
	b.turns, b.entries = nil, 0
	return all
}

// restore undoes the removal of entries.
func (b *budget) restore(list []numbered) {
	for _, e := range list {
		b.insert(e)
	}
	for _, s := range b.turns {
		slices.SortFunc(s.entries, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	}
}

// lined is a heap of members, the one with the least waiting first. It implements
// heap.Interface.
type lined []*share

func (l lined) Len() int           { return len(l) }
func (l lined) Less(i, j int) bool { return l[i].used < l[j].used }
func (l lined) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].place, l[j].place = i, j
}

// Push implements heap.Interface.
func (l *lined) Push(s any) {
	s.(*share).place = len(*l)
	*l = append(*l, s.(*share))
}

// Pop implements heap.Interface.
func (l *lined) Pop() any {
	last := len(*l) - 1
	s := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return s
}
