package cluster

import (
	"errors"
	"math"

	"github.com/xtaci/smux"
)

const (
	// streamWindow is how many bytes of one stream may wait at the end that receives them.
	streamWindow = 64 << 10
	// frameBytes is the most that one stream sends before others have their turn.
	frameBytes = 16 << 10
)

func multiplexing() *smux.Config {
	c := smux.DefaultConfig()
	c.Version = 2                                                      // with flow control for each stream
	c.KeepAliveInterval, c.KeepAliveTimeout = keepAlive, math.MaxInt64 // attentive ends a silent link
	c.MaxFrameSize, c.MaxStreamBuffer = frameBytes, streamWindow
	// A limit for all streams together would let slow clients stall the others. What the
	// streams hold is limited by the window of each. The largest value that is allowed would
	// overflow when smux returns bytes to the budget before it has taken them.
	c.MaxReceiveBuffer = 1 << 30
	return c
}

var errUnexpected = errors.New("the other node opens a stream on a link that is not its own")

// session is a link's connection to the other node, at the end that opens streams.
type session struct {
	*smux.Session
	conn     *batched
	arrivals *arrivals
}

// open begins a stream.
func (s *session) open() (*stream, error) {
	made, err := s.OpenStream()
	if err != nil {
		return nil, err
	}
	return s.arrivals.open(made), nil
}

// awaitClosed waits until the session has ended, for whatever reason, and returns why. smux itself
// does not close a session whose connection breaks. Streams come only from the node that has
// connected, so awaitClosed has none to accept.
func (s *session) awaitClosed() error {
	_, err := s.AcceptStream()
	if err == nil {
		err = errUnexpected
	}
	_ = s.Close()
	_ = s.conn.Close()
	s.arrivals.end()
	return err
}
