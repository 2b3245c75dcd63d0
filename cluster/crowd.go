package cluster

import (
	"net"
	"slices"
	"sync"
)

// crowdLimit is how many connections at a time may be on the way to prove that they are nodes.
const crowdLimit = 1024

// crowd has the connections that have not proven yet that they come from nodes. Nobody waits for a
// place in it: if it is full, the oldest loses its place, or one in the older half that has
// said nothing. A node speaks at once, so neither strangers that stay nor strangers that come
// again and again keep it out.
type crowd struct {
	mu   sync.Mutex
	list []*newcomer // in the order in which they came
}

// newcomer is a connection on its way through the crowd.
type newcomer struct {
	net.Conn
	crowd  *crowd
	spoken bool // the other end has sent something; guarded by crowd.mu until leave
}

// admit adds a connection, and closes another one if there are too many.
func (c *crowd) admit(conn net.Conn) (n *newcomer, full bool) {
	n = &newcomer{Conn: conn, crowd: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if full = len(c.list) >= crowdLimit; full {
		i := max(0, slices.IndexFunc(c.list[:crowdLimit/2], func(n *newcomer) bool { return !n.spoken }))
		_ = c.list[i].Close()
		c.list = slices.Delete(c.list, i, i+1)
	}
	c.list = append(c.list, n)
	return n, full
}

// leave removes a connection, unless it has lost its place.
func (c *crowd) leave(n *newcomer) (had bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.list, n)
	if i < 0 {
		return false
	}
	c.list = slices.Delete(c.list, i, i+1)
	return true
}

// Read implements net.Conn. One goroutine at a time reads.
func (n *newcomer) Read(p []byte) (int, error) {
	size, err := n.Conn.Read(p)
	if size > 0 && !n.spoken {
		n.crowd.mu.Lock()
		n.spoken = true
		n.crowd.mu.Unlock()
	}
	return size, err
}
