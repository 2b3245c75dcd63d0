package cluster

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// keepAlive is how often both ends of a link say that they are there, and silence how long an end
	// waits for that. So a node that stands still for less than silence-keepAlive loses no link, and a
	// broken link is noticed after silence+look: within five seconds, with time to spare.
	keepAlive = 500 * time.Millisecond
	silence   = 4 * time.Second
	// look is the pause between two looks at what has come.
	look = 250 * time.Millisecond
)

var errSilent = fmt.Errorf("no sign of life for %s", silence)

// attentive is a connection that ends once nothing has come over it for silence.
//
// It counts looks, not time. A process that stood still makes one look for the whole time, and reads
// what has come meanwhile before it makes the next ones.
type attentive struct {
	net.Conn
	reads  atomic.Uint64
	silent atomic.Bool
	stop   func()        // ends the goroutine that looks
	ended  chan struct{} // closed when it has ended
}

func newAttentive(conn net.Conn) *attentive {
	stopped := make(chan struct{})
	a := &attentive{Conn: conn, stop: sync.OnceFunc(func() { close(stopped) }), ended: make(chan struct{})}
	go a.watch(stopped)
	return a
}

func (a *attentive) watch(stopped <-chan struct{}) {
	defer close(a.ended)
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	seen, quiet := uint64(0), time.Duration(0)
	for quiet < silence {
		select {
		case <-stopped:
			return
		case <-ticker.C: // drops what this goroutine is too late for
		}
		quiet += look
		if now := a.reads.Load(); now != seen {
			seen, quiet = now, 0
		}
	}
	a.silent.Store(true)
	_ = a.Conn.Close()
}

// Read implements net.Conn.
func (a *attentive) Read(p []byte) (int, error) {
	n, err := a.Conn.Read(p)
	switch {
	case n > 0:
		a.reads.Add(1)
	case err != nil && a.silent.Load():
		err = errSilent
	}
	return n, err
}

// Close implements net.Conn.
func (a *attentive) Close() error {
	a.stop()
	err := a.Conn.Close()
	<-a.ended
	return err
}
