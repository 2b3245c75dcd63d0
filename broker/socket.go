package broker

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	// readBuffer is what a connection keeps for reading while it is idle. Several
	// small frames fit; of a larger one, most is read to where it is parsed.
	readBuffer = 1 << 10
	// writeBuffer is enough for a control frame. Other frames are collected, see socket.
	writeBuffer = 128
	// heldLimit bounds the control frames that may be added while the outbox writes.
	heldLimit = 64 << 10
)

// errHeld ends a connection whose peer sends pings and does not read the pongs.
var errHeld = errors.New("too many control frames wait to be written")

// socket is what lies below a WebSocket. It writes several frames at once, and has
// buffers of a size that fits connections that are idle most of the time.
type socket struct {
	net.Conn
	early []byte        // read with the HTTP request; owned by the reader
	above *bufio.Reader // of the WebSocket; owned by the reader
	given atomic.Bool   // to another owner: nobody here closes the connection any more
	born  time.Time
	heard atomic.Int64 // when something came last, in ns since born: the wall clock may be set

	mu       sync.Mutex
	held     *bytes.Buffer // what was written since hold; nil: it goes out at once
	flushing bool
	flushed  chan struct{} // closed when the flush has ended; nil: nobody waits for that
	closing  bool          // the flush closes the connection in the end
}

// accept upgrades a request that checkUpgrade let pass.
func accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, *socket, error) {
	up := &upgrade{ResponseWriter: w}
	ws, err := websocket.Accept(up, r, &websocket.AcceptOptions{
		CompressionMode:    websocket.CompressionDisabled, // ciphertext does not compress
		InsecureSkipVerify: true,                          // checkUpgrade has looked at the Origin
	})
	return ws, up.socket, err
}

// upgrade makes the WebSocket library use a socket instead of the bare connection.
type upgrade struct {
	http.ResponseWriter
	socket *socket // nil before Hijack
}

// Hijack implements http.Hijacker.
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(innermost(u.ResponseWriter)).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered()) // no more than there is: can't fail
	u.socket = &socket{Conn: conn, early: bytes.Clone(early), born: time.Now()}
	u.socket.above = bufio.NewReaderSize(u.socket, readBuffer)
	return u.socket, bufio.NewReadWriter(u.socket.above, bufio.NewWriterSize(u.socket, writeBuffer)), nil
}

// innermost returns the ResponseWriter that no other one wraps. With an access log, Caddy wraps it, and
// the connection, to count bytes until the line is written. That is before the first message, but the
// connection would keep the request and its buffers until its end.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// give takes the connection away from the WebSocket, and returns it with what was read of it beyond
// the last message. Nobody may write meanwhile. Only the reader calls it.
func (s *socket) give() (net.Conn, []byte) {
	s.given.Store(true)
	read, _ := s.above.Peek(s.above.Buffered()) // no more than there is: can't fail
	return s.Conn, append(bytes.Clone(read), s.early...)
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.early) == 0 {
		n, err := s.Conn.Read(p)
		if n > 0 {
			s.heard.Store(int64(time.Since(s.born)))
		}
		return n, err
	}
	n := copy(p, s.early)
	if s.early = s.early[n:]; len(s.early) == 0 {
		s.early = nil
	}
	return n, nil
}

// silence is how long nothing has come, not even a pong.
func (s *socket) silence() time.Duration {
	return time.Since(s.born) - time.Duration(s.heard.Load())
}

// pingFrame asks the peer for a sign of life. The WebSocket library would wait for the
// pong, with a goroutine for each connection.
var pingFrame = []byte{0x89, 0}

// Write implements net.Conn. Between hold and the end of flush it never blocks.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.held == nil:
		return s.Conn.Write(p)
	case s.flushing && s.held.Len()+len(p) > heldLimit:
		return 0, errHeld
	}
	return s.held.Write(p)
}

// hold makes writes wait for flush. Only the outbox calls hold and flush.
func (s *socket) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = takeBuffer()
}

// flush writes what was held back, and what is written meanwhile. If that takes longer than
// timeout, it closes the connection.
func (s *socket) flush(timeout time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushing = true
	var err error
	for err == nil && s.held.Len() > 0 {
		batch := s.held
		s.held = takeBuffer()
		s.mu.Unlock()
		err = s.writeWithin(timeout, batch.Bytes())
		giveBuffer(batch)
		s.mu.Lock()
	}
	giveBuffer(s.held)
	s.held, s.flushing = nil, false
	if s.flushed != nil {
		close(s.flushed)
		s.flushed = nil
	}
	if s.closing {
		s.cut()
	}
	return err
}

// Close implements net.Conn. What is held back goes out before: the WebSocket library
// closes as soon as it has written the answer to a close frame.
func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		s.closing = true
		return nil
	}
	if s.given.Load() {
		return nil
	}
	return s.Conn.Close()
}

// cut closes the connection at once.
func (s *socket) cut() {
	if !s.given.Load() {
		_ = s.Conn.Close()
	}
}

// settle waits until nothing is held back, for example the answer to a close frame. It takes no
// longer than flush.
func (s *socket) settle() {
	s.mu.Lock()
	if s.held == nil {
		s.mu.Unlock()
		return
	}
	if s.flushed == nil {
		s.flushed = make(chan struct{})
	}
	flushed := s.flushed
	s.mu.Unlock()
	<-flushed
}

func (s *socket) writeWithin(timeout time.Duration, data []byte) error {
	timer := time.AfterFunc(timeout, s.cut)
	defer timer.Stop()
	_, err := s.Conn.Write(data)
	if err != nil {
		s.cut() // a part of a frame may have gone out
	}
	return err
}
