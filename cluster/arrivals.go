package cluster

import (
	"encoding/binary"
	"net"
	"sync"

	"github.com/xtaci/smux"
)

// A goroutine that waits in smux for the bytes of a stream takes 3 kB. So nobody waits there for
// those of a relayed socket: the connection below smux tells the stream that they have come.

// Frames of smux: the version, a command, the length of the payload in two bytes, and the number of
// the stream in four, then the payload.
const (
	frameHeader      = 8
	frameFin    byte = 1
	framePush   byte = 2
)

// arrivals is the connection from which smux reads what comes on the streams of a link. smux reads
// a header, then its payload, and hands the payload to the stream before it reads on.
type arrivals struct {
	net.Conn
	header []byte // what was read of the header of the last frame
	left   int    // how much of its payload was not read yet

	mu      sync.Mutex
	streams map[uint32]*stream // nil: the connection has ended
}

func newArrivals(conn net.Conn) *arrivals {
	return &arrivals{Conn: conn, header: make([]byte, 0, frameHeader), streams: make(map[uint32]*stream)}
}

// Read implements net.Conn.
func (a *arrivals) Read(p []byte) (int, error) {
	if len(a.header) == frameHeader && a.left == 0 {
		a.tell()
		a.header = a.header[:0]
	}
	n, err := a.Conn.Read(p)
	if len(a.header) == frameHeader {
		a.left -= n
	} else if a.header = append(a.header, p[:n]...); len(a.header) == frameHeader {
		a.left = int(binary.LittleEndian.Uint16(a.header[2:]))
	}
	return n, err
}

// tell tells a stream of the last frame, which it has now.
func (a *arrivals) tell() {
	a.mu.Lock()
	s := a.streams[binary.LittleEndian.Uint32(a.header[4:])]
	a.mu.Unlock()
	switch {
	case s == nil:
	case a.header[1] == frameFin:
		s.ended()
	case a.header[1] == framePush:
		s.came(int(binary.LittleEndian.Uint16(a.header[2:])))
	}
}

// open registers a stream.
func (a *arrivals) open(s *smux.Stream) *stream {
	made := &stream{Stream: s, arrivals: a}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.streams == nil {
		made.over = true
	} else {
		a.streams[s.ID()] = made
	}
	return made
}

func (a *arrivals) forget(s *stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.streams, s.ID())
}

// end tells all streams that the session has ended.
func (a *arrivals) end() {
	a.mu.Lock()
	streams := a.streams
	a.streams = nil
	a.mu.Unlock()
	for _, s := range streams {
		s.ended()
	}
}

// stream is a stream that this node has opened.
type stream struct {
	*smux.Stream
	arrivals *arrivals

	mu     sync.Mutex
	unread int    // how many bytes have come that were not read
	over   bool   // nothing more comes
	wake   func() // nil: nobody waits
}

// ready reports whether a read would return at once. If not, wake is called once it would, in a
// goroutine of its own.
func (s *stream) ready(wake func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unread > 0 || s.over {
		return true
	}
	s.wake = wake
	return false
}

// came counts bytes that have come, or, below 0, that were read.
func (s *stream) came(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread += n
	s.wakeLocked()
}

func (s *stream) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.wakeLocked()
}

func (s *stream) wakeLocked() {
	if s.wake != nil && (s.unread > 0 || s.over) {
		go s.wake()
		s.wake = nil
	}
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	s.came(-n)
	return n, err
}

// Close implements net.Conn.
func (s *stream) Close() error {
	s.arrivals.forget(s)
	err := s.Stream.Close()
	s.ended()
	return err
}
