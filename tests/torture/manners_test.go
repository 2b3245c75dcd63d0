package torture

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// manners are the bad ones that a raw peer may have. The zero manners are good.
type manners struct {
	reading atomic.Int32 // freely, byByte or never
	deaf    atomic.Bool  // from the next connection on: it neither takes nor acknowledges
	forges  atomic.Bool  // it acknowledges what is not its own
}

// The ways of reading.
const (
	freely int32 = iota
	byByte       // a byte a second
	never
)

// client makes connections that are read as manners say.
func (m *manners) client() *http.Client {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		// What the system takes in for a peer that does not read should be little.
		err = conn.(*net.TCPConn).SetReadBuffer(256 << 10)
		return &reluctantConn{Conn: conn, manners: m, closed: make(chan struct{})}, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// reluctantConn is a connection that is read as manners say.
type reluctantConn struct {
	net.Conn
	manners *manners
	ended   atomic.Bool
	closed  chan struct{}
}

func (c *reluctantConn) Read(b []byte) (int, error) {
	// A change of manners need not be noticed sooner than within a second.
	for c.manners.reading.Load() == never {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	if c.manners.reading.Load() == byByte {
		select {
		case <-time.After(time.Second):
		case <-c.closed:
			return 0, net.ErrClosed
		}
		b = b[:min(1, len(b))]
	}
	return c.Conn.Read(b)
}

func (c *reluctantConn) Close() error {
	if c.ended.CompareAndSwap(false, true) {
		close(c.closed)
	}
	return c.Conn.Close()
}

// forge acknowledges what others are to acknowledge, if these are one's manners: the
// message of which an ack has just told the id, and what its number leads to.
func (m *manners) forge(ctx context.Context, ws *websocket.Conn, f *inFrame) error {
	if !m.forges.Load() {
		return nil
	}
	forged := []object{
		{"clientMessageId": f.ID, "brokerMessageId": f.MessageID},
		{"clientMessageId": f.MessageID},
	}
	own, number, _ := strings.Cut(f.ID, "-")
	for _, name := range []string{"raw1", "raw2", "raw3", "client4", "client5"} {
		if name != own {
			forged = append(forged, object{"clientMessageId": name + "-" + number})
		}
	}
	for _, o := range forged {
		o["type"] = "client_ack"
		if err := write(ctx, ws, o); err != nil {
			return err
		}
	}
	return nil
}
