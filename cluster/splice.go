package cluster

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// idleBuffer is what a relayed socket keeps for reading while nothing comes. More is
	// borrowed while more comes.
	idleBuffer = 128
	busyBuffer = frameBytes
	// borrowFor is how long the larger buffer is kept while nothing comes.
	borrowFor = time.Second
	// clientPatience is how long a client may take to read what was written to it.
	clientPatience = 30 * time.Second
)

var busyBuffers = sync.Pool{New: func() any { return new([busyBuffer]byte) }}

// splice passes bytes between a client's socket and the owner of its mesh. When one of the two
// ends, it closes the other.
//
// Most sockets are idle, and what they cost then is a goroutine that waits for the client. To pass
// bytes on takes a deep stack, which a goroutine would keep. So a goroutine that has done that ends,
// and another one waits for the next bytes.
type splice struct {
	relay  *Relay
	client net.Conn
	owner  *stream
	ways   atomic.Int32
	first  [idleBuffer]byte
}

// start passes on what was already read of the client, then all else, in the background.
func (s *splice) start(early []byte) {
	s.ways.Store(2)
	go s.up(early, nil)
	go s.down()
}

func (s *splice) awaitClient() {
	n, err := s.client.Read(s.first[:])
	s.up(s.first[:n], err)
}

// up passes on bytes of the client, which were read with an error or without.
func (s *splice) up(bytes []byte, err error) {
	if _, failed := s.owner.Write(bytes); failed != nil {
		err = failed
	}
	if err == nil && len(bytes) == idleBuffer {
		err = s.upMore()
	}
	if err != nil {
		_ = s.owner.Close() // the client's bytes have ended: so does its connection
		s.end()
		return
	}
	go s.awaitClient()
}

// upMore passes on bytes of the client with a larger buffer, until nothing comes for a while.
func (s *splice) upMore() error {
	buffer := busyBuffers.Get().(*[busyBuffer]byte)
	defer busyBuffers.Put(buffer)
	for quiet := false; !quiet; {
		if err := s.client.SetReadDeadline(time.Now().Add(borrowFor)); err != nil {
			return err
		}
		quiet = true
		for late := false; !late; {
			n, err := s.client.Read(buffer[:])
			if n > 0 {
				quiet = false
				if _, err := s.owner.Write(buffer[:n]); err != nil {
					return err
				}
			}
			if late = errors.Is(err, os.ErrDeadlineExceeded); err != nil && !late {
				return err
			}
		}
	}
	return s.client.SetReadDeadline(time.Time{})
}

// errPassed makes a stream return after each write to the client.
var errPassed = errors.New("passed on")

// down passes on what has come of the owner.
func (s *splice) down() {
	for s.owner.ready(s.down) {
		if _, err := s.owner.WriteTo(s); !errors.Is(err, errPassed) { // without a buffer of its own
			_ = s.client.Close()
			_ = s.owner.Close()
			s.end()
			return
		}
	}
}

// Write passes on bytes of the owner. The client may be slow, but not for ever.
func (s *splice) Write(bytes []byte) (int, error) {
	s.owner.came(-len(bytes))
	if err := s.client.SetWriteDeadline(time.Now().Add(clientPatience)); err != nil {
		return 0, err
	}
	n, err := s.client.Write(bytes)
	if err == nil {
		err = errPassed
	}
	return n, err
}

func (s *splice) end() {
	if s.ways.Add(-1) == 0 {
		s.relay.forget(s.client)
	}
}
