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
	// DefaultBudget is what may wait for the storage in memory, as queue.Burden counts it:
	// some hundred milliseconds of all that a machine can send.
	DefaultBudget = 16 << 20

	// greed is how many times as much as is free a member may have waiting: 4 leave a
	// fifth of the budget free under one member's flood, a ninth under that of two.
	greed = 4

	// quantum is what a member's messages may cost in a batch before it is the next
	// member's turn.
	quantum = 4 << 10
)

// budget bounds what waits for the storage and shares it out among members. Whoever has
// the least waiting is let in first, and the storage takes from all in turn. So a
// member that sends more than the storage takes waits for its own messages, and not
// for those of others.
type budget struct {
	limit   int64
	used    int64
	entries int   // in the shares
	number  int64 // of the newest entry
	shut    bool  // nobody is let in: the storage is away
	shares  map[wire.ID]*share
	lined   lined    // shares with somebody in line
	turns   []*share // shares with entries, in the order of their turns
}

// share is what one member has of the budget. One that has nothing is forgotten.
type share struct {
	member  wire.ID
	used    int64
	entries []numbered // to be stored, in order
	credit  int64      // what the entries taken next may cost
	line    list.List  // of *reservation: who waits for room
	place   int        // in budget.lined
}

// numbered is an entry with its number: they count up, in the order of Accept.
type numbered struct {
	*queue.Entry
	number int64
}

// reservation is room that was asked for.
type reservation struct {
	cost int64
	made chan struct{} // closed once there is room
}

// TryReserve takes room for a message of a member, if there is any and nobody waits for
// it who comes first. Release gives it back, once Accept has taken the message or it
// was not sent after all. The cost is that of queue.Burden.
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

// Reserve takes room for a message of a member as soon as there is any. It returns
// queue.ErrFull when ctx ends before that, or queue.ErrUnavailable when the storage is
// away then.
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
	b.admit() // what was in the way may be gone by now
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

// fits reports whether there is room for a message of a member. One without any
// needs no more than the budget has left; and one that costs more than the budget
// goes alone.
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

// admit makes the reservations that there is room for. While the one that comes first does
// not fit, the others wait: else large messages would never be let in.
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

// leave takes a reservation out of its line.
func (b *budget) leave(s *share, place *list.Element) {
	s.line.Remove(place)
	if s.line.Len() == 0 {
		heap.Remove(&b.lined, s.place)
	}
	b.forget(s)
}

// add takes an entry, whether there is room for it or not.
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

// take removes the entries that are stored next: some of each member in turn, at most n
// of them and no more than one that go beyond cost. They are charged for until
// they are stored.
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

// settle gives back what entries were charged for, once their fate is known.
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

// empty removes all entries. They are charged for until settle.
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

// lined orders members by what they have waiting, the least first. It implements
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
