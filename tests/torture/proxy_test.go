package torture

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// proxy is the network before the broker, or between two nodes of a cluster. It forwards TCP connections, so a bad
// network means delays (a loss is a delay until the retransmission), silence in one
// direction, and resets.
type proxy struct {
	listener net.Listener
	to       string
	loops    sync.WaitGroup

	mu      sync.Mutex
	links   map[*net.TCPConn]bool
	closed  bool
	weather weather
	changed chan struct{} // closed and replaced when weather changes
}

// weather is the condition of the network. The zero weather is a good network.
type weather struct {
	delay, jitter time.Duration // for each piece of data
	lossy         float64       // the probability that a piece is lost and retransmitted later
	cut           [2]bool       // whether each direction is blocked
}

// The directions.
const (
	toBroker = iota
	fromBroker
)

// repetition is the time until a lost piece is retransmitted.
const repetition = 300 * time.Millisecond

// newProxy starts a network in front of a world's broker. The world's peers then use it.
func newProxy(w *world) *proxy {
	w.t.Helper()
	p := newProxyTo(w, w.broker.URL("")[len("http://"):])
	w.url = "ws://" + p.address() + "/ws"
	return p
}

// newProxyTo starts a network in front of an address.
func newProxyTo(w *world, to string) *proxy {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.check(err)
	p := &proxy{listener: l, to: to, links: map[*net.TCPConn]bool{}, changed: make(chan struct{})}
	p.loops.Go(p.acceptLoop)
	w.t.Cleanup(p.close)
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) acceptLoop() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.to)
		if err != nil {
			near.Close()
			continue
		}
		p.join(near.(*net.TCPConn), far.(*net.TCPConn))
	}
}

func (p *proxy) join(near, far *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		near.Close()
		far.Close()
		return
	}
	p.links[near], p.links[far] = true, true
	p.loops.Go(func() { p.carry(toBroker, near, far) })
	p.loops.Go(func() { p.carry(fromBroker, far, near) })
}

// piece is data in transit.
type piece struct {
	data []byte
	due  time.Time
}

// carry forwards data in one direction until one of the ends is closed.
func (p *proxy) carry(direction int, from, to *net.TCPConn) {
	pieces := make(chan piece, 64)
	p.loops.Go(func() {
		defer p.drop(from, to)
		for next := range pieces {
			<-time.After(time.Until(next.due))
			p.awaitPassage(direction, to)
			if _, err := to.Write(next.data); err != nil {
				break
			}
		}
		for range pieces { // unblock the reader
		}
	})
	defer close(pieces)
	for {
		b := make([]byte, 16<<10)
		n, err := from.Read(b)
		if n > 0 {
			pieces <- piece{b[:n], time.Now().Add(p.lag())}
		}
		if err != nil {
			return
		}
	}
}

// lag returns the delay of the next piece.
func (p *proxy) lag() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.weather.delay
	if p.weather.jitter > 0 {
		d += rand.N(p.weather.jitter)
	}
	for rand.Float64() < p.weather.lossy {
		d += repetition
	}
	return d
}

// awaitPassage waits until the direction is not cut or the connection is dropped.
func (p *proxy) awaitPassage(direction int, link *net.TCPConn) {
	for {
		p.mu.Lock()
		blocked, changed := p.weather.cut[direction] && p.links[link], p.changed
		p.mu.Unlock()
		if !blocked {
			return
		}
		<-changed
	}
}

// set changes the weather.
func (p *proxy) set(now weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = now
	p.announce()
}

func (p *proxy) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// reset resets all connections, like a router that has lost its state.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for link := range p.links {
		_ = link.SetLinger(0) // close with a reset
		_ = link.Close()
	}
	clear(p.links)
	p.announce()
}

func (p *proxy) drop(links ...*net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, link := range links {
		_ = link.Close()
		delete(p.links, link)
	}
	p.announce()
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.reset()
	p.loops.Wait()
}
