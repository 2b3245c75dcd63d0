package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// conn is one connection. Its hello makes it a peer, or a transient connection.
type conn struct {
	// static after construction
	broker *Broker
	ws     *websocket.Conn
	client netip.Addr // as Caddy determines it, with trusted proxies
	remote string     // as the HTTP server knows it; Caddy's access log has it, too
	born   time.Time
	gone   chan struct{} // closed when everything is over
	dead   context.Context
	die    func() // ends dead
	kill   func() // ends the reader, without a close frame

	relayed bool     // by another node, to this one
	request *request // that opened it; nil: it was not traced

	out  outbox
	acks ackLine
	park park

	// set by the handshake, before anything else is read
	room    *room
	account *account // of its member; nil: none was proven
	actor   mesh.Actor
	member  wire.Key
	key     wire.Key // as peers see it: session key if there is one, else the member key
	session wire.Key
	name    string
	// sealedGroups: the client has announced wire.CapSealedGroups
	sealedGroups bool
	// attestation of the session key; nil: there is none, or it was not proven
	attestation *wire.Attestation
	present     *presence.Presence[*conn] // nil: transient
	others      []queue.Mailbox           // see room.othersLocked

	// owned by the reader
	touched time.Time

	how      decision
	catching atomic.Int32 // mailboxes that have not caught up, plus 1 while joining
	notify   bool         // the client wants to be told once all mailboxes have caught up
	notified atomic.Bool  // the client was told that
	// keepsRoster: the client is told that the roster has changed, and asks how
	keepsRoster bool
}

// ending is why a connection ends.
type ending int32

const (
	endByPeer   ending = iota // a close frame, a broken socket or a timeout: not the broker's decision
	endReplaced               // another connection has its presence
	endRefused                // the hello was refused
	endRemoved                // its member was removed
	endSentAway               // an admin has kicked or disconnected it
	endShutdown               // the broker stops
	endMoved                  // its mesh moves to another node
	endRelayed                // another node serves the socket
)

// decision is why the broker ends a connection; endByPeer until it does.
type decision struct{ how atomic.Int32 }

func (d *decision) load() ending { return ending(d.how.Load()) }

// make decides and returns true, unless a decision was made before.
func (d *decision) make(how ending) bool { return d.how.CompareAndSwap(int32(endByPeer), int32(how)) }

// endings are the names of the broker's decisions.
var endings = [...]string{
	endReplaced: "replaced", endRefused: "refused", endRemoved: "member_removed", endSentAway: "sent_away", endShutdown: "shutdown",
	endMoved: "moved", endRelayed: "relayed",
}

// ending names how the connection ended; err is the reader's.
func (c *conn) ending(err error) string {
	switch how := c.how.load(); {
	case how != endByPeer:
		return endings[how]
	case websocket.CloseStatus(err) != -1:
		return "closed"
	}
	return "broken"
}

func newConn(b *Broker, ws *websocket.Conn, socket *socket, client netip.Addr) *conn {
	c := &conn{broker: b, ws: ws, client: client, born: time.Now(), gone: make(chan struct{})}
	dead, die := context.WithCancel(context.Background())
	c.dead, c.die, c.kill = dead, die, func() {
		die()
		socket.cut()
	}
	c.out = outbox{ws: ws, socket: socket, fail: c.kill, holdPushes: b.holdPushes}
	c.acks = newAckLine(&c.out)
	c.park.all = &b.parked
	return c
}

// buffers holds buffers for reading and writing frames. An idle connection has none.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// bufferKeep is the size up to which a buffer is kept for the next frame.
const bufferKeep = 64 << 10

func takeBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func giveBuffer(b *bytes.Buffer) {
	if b.Cap() <= bufferKeep {
		b.Reset()
		buffers.Put(b)
	}
}

// serve reads until the connection ends. The handshake needs a deep stack, which an idle
// connection would keep, so it runs in a goroutine of its own. adopt has counted the connection;
// over ends the count, in whichever goroutine reads last.
func (c *conn) serve() {
	if err := c.read(false); err != nil {
		c.over(err)
		return
	}
	go func() { c.over(c.read(true)) }()
}

// over ends what belongs to the connection after its reader has ended with err, and waits for its
// other goroutines.
func (c *conn) over(err error) {
	defer c.broker.release(c)
	defer func() {
		if c.account != nil {
			c.broker.members.close(c.account)
		}
	}()
	defer c.out.ended.Wait()
	defer c.cut()
	if websocket.CloseStatus(err) != -1 {
		c.out.socket.settle()
	}
	c.die()
	c.park.discard()
	c.broker.stats.ended.add(c.ending(err))
	c.leave(err)
	c.logEnd(err)
}

// read serves one frame after the other and returns why it ended: nil after a successful
// handshake.
func (c *conn) read(greeted bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(p)
			_ = c.ws.Close(wire.CloseInternal, string(wire.CodeInternal))
			err = errors.New("panic")
		}
	}()
	var hello *time.Timer
	if !greeted {
		hello = time.AfterFunc(c.broker.Settings().HelloTimeout, func() {
			c.end(endRefused, wire.ClosePolicy, string(wire.CodeHelloTimeout))
		})
		defer hello.Stop()
	}
	for greeted || c.room == nil {
		// Text and binary frames are the same. Closing the socket ends this; a context
		// would cost several allocations with every frame.
		_, r, err := c.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		buf := takeBuffer()
		if _, err = buf.ReadFrom(r); err != nil {
			return err
		}
		c.out.waitRoom()
		c.serveFrame(buf.Bytes(), hello)
		giveBuffer(buf)
		if c.how.load() == endRelayed {
			return errRelayed
		}
	}
	return nil
}

func (c *conn) panicked(p any) {
	c.broker.stats.panics.Add(1)
	c.broker.log.Error("panic while serving a connection", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
}

// serveFrame answers one frame.
func (c *conn) serveFrame(data []byte, hello *time.Timer) {
	frame, err := wire.ParseFrame(data)
	if c.room != nil && !prepaid(&frame) {
		if why := c.payForRequest(c.priceOf(&frame, len(data))); why != nil {
			c.sendError(wire.CodeRateLimit, why.Error(), frame.ReqID)
			c.pause(patience)
			return
		}
	}
	if err != nil {
		c.sendError(wire.CodeMalformed, "invalid frame: "+err.Error(), "")
		c.pauseStranger()
		return
	}
	if c.room != nil {
		c.dispatch(&frame)
		return
	}
	switch frame.Type {
	case wire.TypeHello:
		c.greet(&frame, data, hello, c.hello)
	case wire.TypeSessionHello:
		c.greet(&frame, data, hello, c.sessionHello)
	default:
		c.sendError(wire.CodeNoHello, "must send hello first", frame.ReqID)
		c.pauseStranger()
	}
}

// greet runs a handshake and refuses the connection if it fails. data is what the frame was parsed
// from: it goes to the node that serves the mesh.
func (c *conn) greet(frame *wire.Frame, data []byte, timer *time.Timer, handshake func(*wire.Frame) error) {
	if c.how.load() != endByPeer || !timer.Stop() {
		return // refused already, or too late
	}
	var err error
	for until := time.Now().Add(helloPatience); ; c.pause(routeAgain) {
		if err = c.relay(frame, data); c.how.load() != endByPeer {
			return
		}
		if err == nil {
			err = handshake(frame)
		}
		if !errors.Is(err, errMoved) || time.Now().After(until) {
			break
		}
	}
	if err == nil {
		c.broker.stats.hellos.add("accepted")
		return
	}
	if errors.Is(err, presence.ErrOvertaken) {
		c.broker.stats.hellos.add("overtaken")
		// While it waited for the storage, its peer has connected again.
		c.end(endReplaced, wire.CloseNormal, wire.ReasonReplaced)
		return
	}
	var r *rejection
	if !errors.As(err, &r) {
		c.broker.storageFailed("read", err)
		c.broker.log.Warn("handshake failed", zap.Error(err), zap.Stringer("client", c.client))
		r = &rejection{code: wire.CodeTryAgain, message: "the broker's storage is unreachable; try again", close: wire.CloseTryLater}
	}
	c.broker.stats.hellos.add(string(r.code))
	c.sendError(r.code, r.message, frame.ReqID)
	code, reason := wire.ClosePolicy, string(r.code)
	if r.close != 0 {
		code = r.close
	}
	if r.reason != "" {
		reason = r.reason
	}
	c.end(endRefused, code, reason)
}

// leave removes the connection from its room after the reader has ended with err.
func (c *conn) leave(err error) {
	if c.room == nil {
		return
	}
	clean := websocket.CloseStatus(err) != -1 && c.how.load() == endByPeer
	c.room.part(c, clean)
}

// logEnd logs what Caddy's access log can't know, because its line is written at the upgrade.
func (c *conn) logEnd(err error) {
	level := zap.DebugLevel
	if how := c.how.load(); how == endRemoved || how == endSentAway {
		level = zap.InfoLevel // somebody has decided that
	}
	ce := c.broker.log.Check(level, "connection ended")
	if ce == nil {
		return
	}
	fields := []zap.Field{zap.String("reason", c.ending(err)), zap.Stringer("client", c.client), zap.Duration("duration", time.Since(c.born))}
	if !c.relayed {
		fields = append(fields, zap.String("remote", c.remote))
	}
	if c.room != nil {
		fields = append(fields, zap.Stringer("mesh", c.room.id), zap.Stringer("member", c.actor.MemberID))
	}
	ce.Write(fields...)
}

// end closes the connection: it writes what waits to be written, then the close frame. Only
// the first call counts.
func (c *conn) end(how ending, code int, reason string) {
	c.how.make(how)
	c.out.finish(code, reason)
	// A peer that does not read must not keep the connection open. If the connection has ended by
	// then, cut does nothing, so nobody waits for the timer.
	time.AfterFunc(closeGrace, c.cut)
}

// closeGrace is how long a peer may take to read the rest and close.
const closeGrace = 5 * time.Second

// cut ends the connection without a close frame.
func (c *conn) cut() {
	c.out.discard()
	c.kill()
	_ = c.ws.CloseNow()
}

// send queues a message that must be sent.
func (c *conn) send(message any) {
	data, err := json.Marshal(message)
	if err != nil {
		c.broker.log.Error("encoding a message failed", zap.Error(err))
		return
	}
	c.out.add(data)
}

func (c *conn) sendError(code wire.Code, message, reqID string) {
	c.broker.stats.refused.add(string(code))
	c.send(wire.NewError(code, message, reqID))
}

// Push implements queue.Outlet.
func (c *conn) Push(frame []byte) { c.out.addPush(frame) }

// Opens implements queue.Outlet.
func (c *conn) Opens(m *queue.Message) bool { return c.sealedGroups || !m.SealedForMany() }

// Flushed implements queue.Outlet.
func (c *conn) Flushed() bool { return c.out.flushed() }

// CaughtUp implements queue.Outlet. The client is told once, when the last of its mailboxes
// has caught up, and not again when it gets another mailbox later.
func (c *conn) CaughtUp() {
	if c.catching.Add(-1) == 0 && c.notify && c.notified.CompareAndSwap(false, true) {
		c.send(wire.CaughtUp{Type: wire.TypeCaughtUp})
	}
}
