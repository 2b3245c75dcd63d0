package cluster

import (
	"net"
	"sync"
)

// batchLimit is how much may wait to be written before writers wait.
const batchLimit = 256 << 10

// batched is a connection whose writes are collected while an earlier one is under way. So frames
// of many streams share a TLS record and a system call. An error of a write is reported by the
// next one.
type batched struct {
	net.Conn

	mu      sync.Mutex
	wake    sync.Cond // something changed
	waiting []byte
	err     error
	ended   chan struct{} // closed when the writer has ended
}

func newBatched(conn net.Conn) *batched {
	b := &batched{Conn: conn, ended: make(chan struct{})}
	b.wake.L = &b.mu
	go b.writeLoop()
	return b
}

// Write takes all of p or nothing.
func (b *batched) Write(p []byte) (int, error) { return b.WriteBuffers([][]byte{p}) }

// WriteBuffers writes several buffers as one. smux uses it in place of Write.
func (b *batched) WriteBuffers(list [][]byte) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.err == nil && len(b.waiting) >= batchLimit {
		b.wake.Wait()
	}
	if b.err != nil {
		return 0, b.err
	}
	for _, p := range list {
		b.waiting = append(b.waiting, p...)
		n += len(p)
	}
	b.wake.Broadcast()
	return n, nil
}

func (b *batched) writeLoop() {
	defer close(b.ended)
	var batch []byte
	for {
		b.mu.Lock()
		for b.err == nil && len(b.waiting) == 0 {
			b.wake.Wait()
		}
		if b.err != nil {
			b.mu.Unlock()
			return
		}
		batch, b.waiting = b.waiting, batch[:0]
		b.wake.Broadcast()
		b.mu.Unlock()
		if _, err := b.Conn.Write(batch); err != nil {
			b.fail(err)
			return
		}
		if cap(batch) > batchLimit {
			batch = nil
		}
	}
}

func (b *batched) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.wake.Broadcast()
}

// Close closes the connection. What waits to be written is lost.
func (b *batched) Close() error {
	b.fail(net.ErrClosed)
	err := b.Conn.Close()
	<-b.ended
	return err
}
