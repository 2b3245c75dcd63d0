package cluster

import (
	"errors"
	"net"
	"testing"

	"github.com/xtaci/smux"
)

// hush is a connection to a machine that has vanished: nothing comes. A stalled one takes nothing, either.
type hush struct {
	net.Conn
	stalled bool
	ended   chan struct{}
}

func (h *hush) Read([]byte) (int, error) {
	<-h.ended
	return 0, net.ErrClosed
}

func (h *hush) Write(p []byte) (int, error) {
	if h.stalled {
		return h.Read(nil)
	}
	return len(p), nil
}

func (h *hush) Close() error {
	select {
	case <-h.ended:
	default:
		close(h.ended)
	}
	return nil
}

// TestSilentLinkEnds checks that each end of a link gives up the other one if nothing comes from it. TestAttentive
// checks when. This test runs in real time: the sessions of smux share a pool of channels, which may not leave the
// bubble of a test in virtual time.
func TestSilentLinkEnds(t *testing.T) {
	t.Parallel()
	for end, open := range map[string]func(*batched) (*smux.Session, error){
		"the end that connects": func(b *batched) (*smux.Session, error) { return smux.Client(b, multiplexing()) },
		"the end that accepts":  func(b *batched) (*smux.Session, error) { return smux.Server(b, multiplexing()) },
	} {
		for state, stalled := range map[string]bool{"takes bytes": false, "takes no bytes": true} {
			t.Run(end+", "+state, func(t *testing.T) {
				t.Parallel()
				b := newBatched(newAttentive(&hush{stalled: stalled, ended: make(chan struct{})}))
				session, err := open(b)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := session.AcceptStream(); !errors.Is(err, errSilent) {
					t.Errorf("the link ended with %v, want %v", err, errSilent)
				}
				_ = session.Close()
				_ = b.Close()
			})
		}
	}
}
