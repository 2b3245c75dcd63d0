package journal

import (
	"slices"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// pending is what waits for the next batches.
type pending struct {
	budget    budget // with the messages
	settling  line[queue.Settling]
	closed    line[closing]
	events    line[audit.Event]
	hellos    line[Hello]
	presences map[presenceRef]presence.Record
	flushed   []flushing
	saved     []saving  // for the presences saved before
	forgotten []wire.ID // meshes whose audit head must be read again
	dropping  []dropping
}

// line holds what waits, in the order in which it was added.
type line[T any] struct {
	waiting []T
	taken   int64 // how many have been taken, ever
}

func (l *line[T]) add(items ...T) { l.waiting = append(l.waiting, items...) }

func (l *line[T]) len() int { return len(l.waiting) }

// take removes up to n of the first.
func (l *line[T]) take(n int) []T {
	head := l.waiting
	if n < len(head) {
		head, l.waiting = l.waiting[:n:n], l.waiting[n:]
	} else {
		l.waiting = nil
	}
	l.taken += int64(len(head))
	return head
}

// drop removes and returns what belongs to lost meshes. It does not count as taken.
func (l *line[T]) drop(isLost func(T) bool) (lost []T) {
	l.waiting, lost = part(l.waiting, isLost)
	return lost
}

// end returns what taken will be once everything that waits now has been taken.
func (l *line[T]) end() int64 { return l.taken + int64(len(l.waiting)) }

// isPast reports whether everything that waited when end was called has been taken.
func (l *line[T]) isPast(end int64) bool { return len(l.waiting) == 0 || l.taken >= end }

// closing is the end of a mailbox, which waits for all entries accepted before it.
type closing struct {
	queue.Closing
	after int64 // the number of the last such entry
}

type presenceRef struct {
	mesh wire.ID
	id   presence.Identity
}

// flushing is a call of Flush, which waits for everything added before it.
type flushing struct {
	ends ends
	done chan struct{} // closed when all of it is stored
}

// saving is a call of SaveNow.
type saving struct {
	mesh wire.ID
	done chan error // capacity 1
}

// ends says how far each line goes at some moment. For the messages it is the number of the
// newest entry.
type ends struct{ entries, settling, closed, events, hellos int64 }

func (p *pending) ends() ends {
	return ends{p.budget.number, p.settling.end(), p.closed.end(), p.events.end(), p.hellos.end()}
}

// arePast reports whether everything before e has been taken.
func (p *pending) arePast(e ends) bool {
	return p.budget.takenUpTo() >= e.entries && p.settling.isPast(e.settling) && p.closed.isPast(e.closed) &&
		p.events.isPast(e.events) && p.hellos.isPast(e.hellos)
}

func (p *pending) empty() bool {
	return p.budget.entries == 0 && len(p.presences) == 0 &&
		p.settling.len()+p.closed.len()+p.events.len()+p.hellos.len() == 0
}

// urgent reports whether somebody waits for the next commit.
func (p *pending) urgent() bool {
	return p.budget.entries > 0 || len(p.flushed) > 0 || len(p.saved) > 0
}

// takeClosed removes the closings whose earlier entries have all been taken.
func (p *pending) takeClosed() (ripe []queue.Closing) {
	if p.closed.len() == 0 {
		return nil
	}
	taken := p.budget.takenUpTo()
	for p.closed.len() > 0 && p.closed.waiting[0].after <= taken && len(ripe) < batchOthers {
		ripe = append(ripe, p.closed.take(1)[0].Closing)
	}
	return ripe
}

// takeWaiters moves to w the calls that no longer wait for anything pending. Presences have no
// order, so a call that waits for one waits until none is left.
func (p *pending) takeWaiters(w *work) {
	if len(p.presences) > 0 {
		return
	}
	w.saved, p.saved = p.saved, nil
	p.flushed = slices.DeleteFunc(p.flushed, func(f flushing) bool {
		past := p.arePast(f.ends)
		if past {
			w.flushed = append(w.flushed, f.done)
		}
		return past
	})
}
