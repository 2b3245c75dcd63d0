package daemon

import (
	"errors"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/attention"
)

// printedWithin is how long a hook may take to report that it has printed a pointer. A hook
// that timed out or was killed never reports.
const printedWithin = time.Second

var errNotPrinted = errors.New("the hook did not say that it has printed the pointer")

// pointers holds the offers that hooks have received but not yet printed. The zero value is
// ready to use.
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
		p.open = make(map[int64]openPointer)
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
