package queue

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// The pushes to one recipient that are not yet acknowledged are bounded by count and by
// bytes. A message that is larger than the window is pushed alone.
const (
	windowCount = 256
	windowBytes = 1 << 20
)

// maxLease bounds how long a push may go unacknowledged by a recipient that has not
// acknowledged anything for long.
const maxLease = time.Hour

// flight is a push that has not been acknowledged. An overdue flight will be pushed again,
// because its lease has run out or its connection has ended. Until then, an acknowledgement
// of the first push still counts.
type flight struct {
	seq      int64
	overdue  bool
	size     int
	lease    time.Duration
	deadline time.Time
	clientID string
	entry    *Entry // nil once stored
	index    int    // of the recipient in entry
}

// window holds a mailbox's flights.
type window struct {
	flights  map[wire.ID]*flight
	airborne int // those that are not overdue: they fill the window
	bytes    int // of those
	// lease is how long what is pushed now may go unacknowledged. 0 stands for the shortest
	// lease: none has run out since the recipient came or acknowledged something.
	lease time.Duration
}

// room reports whether one more push of size bytes fits.
func (w *window) room(size int) bool {
	return w.airborne == 0 || w.airborne < windowCount && w.bytes+size <= windowBytes
}

// roomy reports whether there is enough room for a page, so that a slow recipient
// does not cost a query per acknowledgement.
func (w *window) roomy() bool { return w.airborne <= windowCount/2 && w.bytes <= windowBytes/2 }

// add takes a flight whose lease begins now.
func (w *window) add(id wire.ID, f *flight, shortest time.Duration) {
	f.lease = max(w.lease, shortest)
	f.deadline = time.Now().Add(f.lease)
	w.flights[id] = f
	w.airborne++
	w.bytes += f.size
}

// remove takes a flight out for good; delay leaves it to be pushed again.
func (w *window) remove(id wire.ID, f *flight) {
	w.delay(f)
	delete(w.flights, id)
}

func (w *window) delay(f *flight) {
	if !f.overdue {
		f.overdue = true
		w.airborne--
		w.bytes -= f.size
	}
}

// find returns the flight that an acknowledgement means: the one with the message id,
// else the oldest with the client's id; nil for none.
func (w *window) find(id wire.ID, clientID string) (wire.ID, *flight) {
	f := w.flights[id]
	if f == nil && clientID != "" {
		for otherID, other := range w.flights {
			if other.clientID == clientID && (f == nil || other.seq < f.seq) {
				id, f = otherID, other
			}
		}
	}
	return id, f
}

// shorten makes what has been pushed due again after the shortest lease, as if the
// recipient had never been away.
func (w *window) shorten(now time.Time, shortest time.Duration) {
	if w.lease == 0 {
		return
	}
	w.lease = 0
	for _, f := range w.flights {
		if soon := now.Add(shortest); f.deadline.After(soon) {
			f.lease, f.deadline = shortest, soon
		}
	}
}

// expire delays the flights whose lease has run out and that the store has. It returns
// how many they are, and the Seq of the oldest. The next lease of each is twice as long.
func (w *window) expire(now time.Time) (n int64, oldest int64) {
	for _, f := range w.flights {
		if f.entry != nil || f.overdue || now.Before(f.deadline) {
			continue
		}
		w.delay(f)
		w.lease = max(w.lease, min(2*f.lease, maxLease))
		if n == 0 || f.seq < oldest {
			oldest = f.seq
		}
		n++
	}
	return n, oldest
}

// forgetOverdue drops the flights that the store no longer has: their messages
// have expired.
func (w *window) forgetOverdue() {
	for id, f := range w.flights {
		if f.overdue {
			delete(w.flights, id)
		}
	}
}

// settling holds the deliveries that were acknowledged, until the store and the page that is
// being read show that.
type settling struct {
	at   map[int64]time.Time // by Seq: when they were acknowledged
	late []int64             // those that were settled in the store while a page was read
}

// forgetLate must be called when no page is being read: the next page shows what is late.
func (s *settling) forgetLate() {
	for _, seq := range s.late {
		delete(s.at, seq)
	}
	s.late = nil
}

// seqs are the numbers of deliveries, ascending. Most come and go in order.
type seqs []int64

func (s *seqs) add(seq int64) {
	i, _ := slices.BinarySearch(*s, seq)
	*s = slices.Insert(*s, i, seq)
}

// remove takes out a number that is there.
func (s *seqs) remove(seq int64) {
	switch i, _ := slices.BinarySearch(*s, seq); {
	case len(*s) == 1:
		*s = nil
	case i == 0:
		*s = (*s)[1:]
	default:
		*s = slices.Delete(*s, i, i+1)
	}
}
