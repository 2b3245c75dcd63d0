package broker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/wire"
)

// In a cluster, a client connects to any node. Its hello says which mesh it is for. If another node
// serves the mesh, this node hands the socket over with the hello: from then on it passes bytes on,
// and the other node serves a WebSocket whose upgrade it has not seen.

// Router finds the node of a cluster that serves a mesh. *cluster.Relay implements it.
type Router interface {
	// Route returns nil if this node serves the mesh, or if there is no such mesh. Otherwise, take
	// hands a socket over to the node that does, with what was already read of it; it must be
	// called once. Route waits until ctx ends for a node that serves the mesh, and tells it the span
	// in ctx.
	Route(ctx context.Context, mesh wire.ID, client netip.Addr) (take func(socket net.Conn, early []byte), err error)
	// Problem says why other nodes don't reach this one, or returns nil.
	Problem() error
	// Relayed returns how many sockets are handed over now.
	Relayed() int64
}

var (
	// errRelayed ends the reader of a connection that another node serves now.
	errRelayed = errors.New("relayed to another node")
	// errMoved refuses a hello whose mesh has left this node since the router was asked. Where the
	// connection can be relayed, greet asks the router again first.
	errMoved = tryLater("the mesh is moving to another node of the broker's cluster; try again")
)

// routeAgain is the pause before greet asks the router again.
const routeAgain = 50 * time.Millisecond

// canRelay reports whether relay may hand the connection over. A socket that was relayed once is not
// relayed again: if its mesh has moved meanwhile, the client connects again.
func (c *conn) canRelay() bool { return c.broker.router != nil && !c.relayed }

// relay hands the connection over if another node serves the mesh of its hello, whose bytes are
// data; then the connection ends here, with endRelayed.
func (c *conn) relay(frame *wire.Frame, data []byte) error {
	mesh, err := wire.ParseID(wire.HelloMesh(frame))
	if !c.canRelay() || err != nil {
		return nil // the handshake refuses what is not the id of a mesh
	}
	patient, cancel := context.WithTimeout(c.request.context(c.dead), helloPatience)
	defer cancel()
	take, err := c.broker.router.Route(patient, mesh, c.client)
	if err != nil {
		c.broker.log.Warn("a hello could not be relayed", zap.Stringer("mesh", mesh), zap.Error(err))
		return tryLater("the node that serves this mesh can't be reached now; try again")
	}
	if take == nil {
		return nil
	}
	c.out.close()
	if !c.how.make(endRelayed) { // the broker has decided to end it meanwhile
		c.cut()
		data = nil
	}
	socket, rest := c.out.socket.give()
	if data == nil {
		take(socket, nil) // the owner sees its end
		return nil
	}
	take(socket, append(clientFrame(data), rest...))
	return nil
}

// clientFrame encodes a text message as clients do (RFC 6455, section 5.2): in one frame, masked, here with
// zeros.
func clientFrame(data []byte) []byte {
	const final, text, masked = 0x80, 0x01, 0x80
	frame := make([]byte, 0, len(data)+14)
	switch n := len(data); {
	case n < 126:
		frame = append(frame, final|text, masked|byte(n))
	case n <= 0xffff:
		frame = binary.BigEndian.AppendUint16(append(frame, final|text, masked|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, final|text, masked|127), uint64(n))
	}
	return append(append(frame, 0, 0, 0, 0), data...)
}

// leaveOver is the time over which the relayed sockets of a node that stops are closed.
const leaveOver = time.Second

// ServeRelayed serves a socket that another node relays; see cluster.Server.
func (b *Broker) ServeRelayed(leave context.Context, stream net.Conn, client netip.Addr, taken func() error) error {
	if b.draining.Load() {
		return errors.New("shutting down")
	}
	ws, socket, err := accept(&upgraded{header: make(http.Header), conn: stream}, upgradeRequest())
	if err != nil {
		return err
	}
	ws.SetReadLimit(4 * int64(b.Settings().MaxMessageBytes))
	c := newConn(b, ws, socket, client.Unmap())
	c.relayed, c.request = true, tracedRequest(leave)
	if !b.adopt(c) {
		socket.give() // the caller closes it
		c.cut()
		return errors.New("shut down")
	}
	// Both functions only start timers or stop one another, and nobody needs to wait for them.
	stay := context.AfterFunc(leave, func() {
		time.AfterFunc(rand.N(leaveOver), func() { c.end(endShutdown, wire.CloseRestart, wire.ReasonShutdown) })
	})
	context.AfterFunc(c.dead, func() { stay() })
	b.stats.connections.add("relayed")
	if taken() != nil {
		c.cut() // which ends the reader
	}
	go c.serve()
	return nil
}

// upgradeRequest is a request as the other node has answered it.
func upgradeRequest() *http.Request {
	return &http.Request{
		Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {base64.StdEncoding.EncodeToString(make([]byte, 16))}, // its answer goes nowhere
		},
	}
}

// upgraded answers a request that was answered before: it swallows the answer.
type upgraded struct {
	header http.Header
	conn   net.Conn
}

// Header implements http.ResponseWriter.
func (u *upgraded) Header() http.Header { return u.header }

// Write implements http.ResponseWriter.
func (u *upgraded) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements http.ResponseWriter.
func (u *upgraded) WriteHeader(int) {}

// Hijack implements http.Hijacker.
func (u *upgraded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nothing := bufio.NewReadWriter(bufio.NewReaderSize(bytes.NewReader(nil), 16), nil)
	return u.conn, nothing, nil
}
