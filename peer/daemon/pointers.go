package daemon

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/attention"
)

// printedWithin is how long a hook may take to report that it has printed a pointer. A hook
// that timed out or was killed never reports.
const printedWithin = time.Second

var errNotPrinted = errors.New("the hook did not say that it has printed the pointer")

// pointers holds the offers that hooks have received but not yet printed. The zero value is
// ready to use. The numbers of offers start at random, so that a late report of a hook means
// none of another session or daemon.
type pointers struct {
	mu   sync.Mutex
	last int64
	open map[int64]openPointer
}

// openPointer is an offer that nobody has settled yet.
type openPointer struct {
	offer *attention.Offer
	late  *time.Timer // settles the offer as not printed; does no I/O
}

// add keeps an offer and returns the number that settles it. If nobody settles it in time, its
// messages count as not announced.
func (p *pointers) add(o *attention.Offer) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		p.open, p.last = make(map[int64]openPointer), rand.Int64N(1<<52) // JSON numbers are exact up to 2^53
	}
	p.last++
	number := p.last
	p.open[number] = openPointer{o, time.AfterFunc(printedWithin, func() { p.settle(number, errNotPrinted) })}
	return number
}

// settle ends an offer once.
func (p *pointers) settle(number int64, err error) {
	p.mu.Lock()
	o, found := p.open[number]
	delete(p.open, number)
	p.mu.Unlock()
	if found {
		o.late.Stop()
		o.offer.Done(err)
	}
}
