package simulation

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// downBuffer is how many bytes the network takes from the broker before the broker has to wait for
// the client to read.
const downBuffer = 16 << 10

// link is a connection between a client and the broker. It can be cut anywhere, even within a
// frame, with or without losing what is under way.
type link struct {
	mu    sync.Mutex
	moved *sync.Cond

	up, down stream
	closed   bool // by the broker
	stuck    bool // the client reads nothing
	vanished bool // the client is gone, and the broker has not noticed

	held  bool   // a process that stands still lets nothing through
	later []byte // what the broker has written meanwhile
	total int    // bytes that the broker has written
	late  int    // how many of them it had written, or begun to write, when the process went on
}

// stream is one direction.
type stream struct {
	data   []byte
	ended  bool // nothing comes after data
	lost   bool // nothing comes at all, and the reader gets an error
	budget int  // bytes until the link is cut; negative: no limit
}

func newLink() *link {
	l := &link{up: stream{budget: -1}, down: stream{budget: -1}}
	l.moved = sync.NewCond(&l.mu)
	return l
}

// change changes the link under its lock and wakes everybody who waits for a change.
func (l *link) change(what func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what()
	l.moved.Broadcast()
}

// cut ends the connection for both sides. If lose is true, what is under way is lost, too.
func (l *link) cut(lose bool) { l.change(func() { l.cutLocked(lose) }) }

func (l *link) cutLocked(lose bool) {
	for _, s := range []*stream{&l.up, &l.down} {
		s.ended = true
		s.lost = s.lost || lose
	}
	l.stuck = false
}

// vanish removes the client without telling the broker.
func (l *link) vanish() { l.change(func() { l.vanished = true }) }

// freeze stops the client from reading, until it thaws or the link is cut.
func (l *link) freeze(yes bool) { l.change(func() { l.stuck = yes && !l.up.ended }) }

// limit cuts the link after the given number of further bytes in one direction.
func (l *link) limit(up bool, bytes int) {
	l.change(func() {
		if up {
			l.up.budget = bytes
		} else {
			l.down.budget = bytes
		}
	})
}

// hold lets nothing through, or lets everything through again.
func (l *link) hold(yes bool) {
	l.change(func() {
		if l.held = yes; yes {
			return
		}
		if !l.down.ended {
			l.down.data = append(l.down.data, l.later...)
		}
		l.later = nil
		l.down.ended = l.down.ended || l.closed
	})
}

// isLate reports whether the broker wrote the first n bytes, or the last of them, while a process
// stood still.
func (l *link) isLate(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return n <= l.late
}

// over reports whether nothing can come from the client any more.
func (l *link) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed || l.vanished || l.up.ended
}

// take spends s's budget on data and returns how much of it passes.
func (l *link) take(s *stream, data []byte) []byte {
	if s.budget < 0 || len(data) < s.budget {
		if s.budget >= 0 {
			s.budget -= len(data)
		}
		return data
	}
	data = data[:s.budget]
	s.budget = 0
	return data
}

// write writes at the client's end. The network takes everything.
func (l *link) write(data []byte) {
	l.change(func() {
		if l.closed || l.vanished || l.up.ended {
			return
		}
		l.up.data = append(l.up.data, l.take(&l.up, data)...)
		if l.up.budget == 0 {
			l.cutLocked(false)
		}
	})
}

// Read reads at the client's end.
func (l *link) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.vanished || l.down.lost:
			return 0, io.ErrUnexpectedEOF
		case l.stuck:
		case len(l.down.data) > 0:
			n := copy(p, l.down.data)
			l.down.data = l.down.data[n:]
			l.moved.Broadcast()
			return n, nil
		case l.down.ended:
			return 0, io.EOF
		}
		l.moved.Wait()
	}
}

// brokerEnd is the broker's end of a link.
type brokerEnd struct {
	*link
	net.Conn // nil: nobody asks for addresses
}

func (b brokerEnd) Read(p []byte) (int, error) {
	l := b.link
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return 0, net.ErrClosed
		case l.held:
		case l.up.lost:
			return 0, syscall.ECONNRESET
		case len(l.up.data) > 0:
			n := copy(p, l.up.data)
			l.up.data = l.up.data[n:]
			return n, nil
		case l.up.ended:
			return 0, io.EOF
		}
		l.moved.Wait()
	}
}

func (b brokerEnd) Write(p []byte) (n int, err error) {
	l := b.link
	l.mu.Lock()
	defer l.mu.Unlock()
	late := l.held
	for n < len(p) {
		room := downBuffer - len(l.down.data) - len(l.later)
		switch {
		case l.closed:
			return n, net.ErrClosed
		case l.down.ended:
			return n, syscall.EPIPE
		case room > 0:
			passed := l.take(&l.down, p[n:min(len(p), n+room)])
			if l.held {
				l.later = append(l.later, passed...)
			} else {
				l.down.data = append(l.down.data, passed...)
			}
			n += len(passed)
			if l.total += len(passed); late {
				l.late = l.total
			}
			if l.down.budget == 0 {
				l.cutLocked(false)
			}
			l.moved.Broadcast()
		default:
			l.moved.Wait()
		}
	}
	return n, nil
}

func (b brokerEnd) Close() error {
	b.change(func() { b.closed, b.down.ended = true, b.down.ended || !b.held })
	return nil
}

func (brokerEnd) SetDeadline(time.Time) error { return nil }

// upgrade is the http.ResponseWriter of a request that becomes a WebSocket on the
// link. The handshake itself is left out.
type upgrade struct {
	header http.Header
	link   *link
}

func (u upgrade) Header() http.Header       { return u.header }
func (u upgrade) Write([]byte) (int, error) { return 0, http.ErrHijacked }
func (u upgrade) WriteHeader(int)           {}

// Hijack implements http.Hijacker.
func (u upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	end := brokerEnd{link: u.link}
	return end, bufio.NewReadWriter(bufio.NewReaderSize(end, 1<<10), bufio.NewWriterSize(end, 1<<10)), nil
}

// upgradeRequest asks for a WebSocket.
func upgradeRequest() *http.Request {
	return &http.Request{
		Method: http.MethodGet, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "broker",
		Header: http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		},
	}
}

// Opcodes of RFC 6455.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// encodeFrame makes a client's frame, masked with zeros.
func encodeFrame(op byte, payload []byte) []byte {
	b := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// decodeFrame reads one of the broker's frames.
func decodeFrame(r io.Reader) (op byte, payload []byte, err error) {
	var head [10]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		_, err = io.ReadFull(r, head[2:4])
		n = uint64(binary.BigEndian.Uint16(head[2:4]))
	case 127:
		_, err = io.ReadFull(r, head[2:10])
		n = binary.BigEndian.Uint64(head[2:10])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0] & 0xf, payload, err
}
