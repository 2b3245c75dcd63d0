package cluster

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/xtaci/smux"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	// handshakesAtOnce is how many connections at a time may be on the way to prove that they
	// are nodes. Others wait: a stranger costs a node little.
	handshakesAtOnce = 64
	// prefaceWithin is how long the first bytes of a stream may take.
	prefaceWithin = 5 * time.Second
	// nodesFresh is how long the list of nodes is used before a key that is not in it makes
	// a node read the list again.
	nodesFresh = 200 * time.Millisecond
)

// Server is what other nodes reach on this one. Package broker has the methods.
type Server interface {
	// ServeRelayed serves a WebSocket whose upgrade another node has answered, and returns at
	// once. socket carries the client's bytes. ServeRelayed calls taken once it is certain to
	// serve the socket, and before it reads or writes. When leave ends, the socket is to be
	// closed in such a way that the client soon connects again; leave has the span that the other
	// node's Route was given. An error means that nothing is served and that the socket is not closed.
	ServeRelayed(leave context.Context, socket net.Conn, client netip.Addr, taken func() error) error
}

// listener takes connections of other nodes.
type listener struct {
	net.Listener
	key       *Key
	directory Directory
	server    Server
	calls     *calls
	log       *zap.Logger
	slots     chan struct{}

	life context.Context // of the connections

	mu    sync.Mutex // held while the list is read, so that strangers share one query
	nodes []Node
	read  time.Time
}

// run accepts connections until the listener is closed, and waits for those that it has accepted.
func (l *listener) run() {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || l.life.Err() != nil {
			return
		}
		if err != nil {
			l.log.Warn("accepting a connection of another node failed", zap.Error(err))
			select {
			case <-time.After(pauseMin): // too many open files, for example
			case <-l.life.Done():
			}
			continue
		}
		select {
		case l.slots <- struct{}{}:
		case <-l.life.Done():
			_ = conn.Close()
			return
		}
		connections.Go(func() { l.serve(conn) })
	}
}

// serve serves one connection.
func (l *listener) serve(raw net.Conn) {
	conn := tls.Server(raw, l.key.config(l.verify))
	stop := context.AfterFunc(l.life, func() { _ = raw.Close() })
	defer stop()
	err := l.handshake(conn)
	<-l.slots
	if err != nil {
		_ = conn.Close()
		l.log.Warn("refused a connection at the cluster port", zap.Stringer("from", raw.RemoteAddr()), zap.Error(err))
		return
	}
	batched := newBatched(conn)
	session, err := smux.Server(batched, multiplexing())
	if err != nil {
		_ = batched.Close()
		l.log.Error("multiplexing a link failed", zap.Error(err))
		return
	}
	defer batched.Close()
	defer session.Close()
	var streams sync.WaitGroup
	leave, left := context.WithCancel(l.life)
	defer left()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			l.log.Debug("a link has ended", zap.Stringer("from", raw.RemoteAddr()), zap.Error(err))
			break
		}
		streams.Go(func() { l.serveStream(leave, left, stream) })
	}
	_ = session.Close() // ends the streams
	streams.Wait()
}

func (l *listener) handshake(conn *tls.Conn) error {
	ctx, cancel := context.WithTimeout(l.life, connectWithin)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	_ = conn.SetWriteDeadline(time.Now().Add(connectWithin))
	_, err := conn.Write([]byte{welcome})
	_ = conn.SetWriteDeadline(time.Time{})
	return err
}

// errStranger says why a node refuses a connection from something other than a node.
var errStranger = errors.New("no node in the database has its key: it is a stranger, or a node of another database")

// verify reports whether a key is that of a live node.
func (l *listener) verify(key ed25519.PublicKey) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.knowsLocked(key) {
		return nil
	}
	if time.Since(l.read) > nodesFresh {
		ctx, cancel := context.WithTimeout(l.life, connectWithin)
		defer cancel()
		nodes, err := l.directory.Nodes(ctx)
		if err != nil {
			return fmt.Errorf("read the keys of the nodes: %w", err)
		}
		l.nodes, l.read = nodes, time.Now()
	}
	if l.knowsLocked(key) {
		return nil
	}
	return errStranger
}

func (l *listener) knowsLocked(key ed25519.PublicKey) bool {
	for _, n := range l.nodes {
		if n.Live && key.Equal(ed25519.PublicKey(n.PublicKey)) {
			return true
		}
	}
	return false
}

// learn replaces the list of nodes.
func (l *listener) learn(nodes []Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes, l.read = nodes, time.Now()
}

// serveStream reads what a stream is for, and hands it on.
func (l *listener) serveStream(leave context.Context, left func(), stream *smux.Stream) {
	_ = stream.SetDeadline(time.Now().Add(prefaceWithin))
	p, err := readPreface(stream)
	if err != nil {
		l.log.Warn("a node sends what this one does not understand", zap.Error(err))
		_ = stream.Close()
		return
	}
	answer := answerBusy
	switch p.Kind {
	case kindSocket, kindCall:
		if answer = l.ask(leave, p.Mesh); answer == answerTaken {
			l.take(leave, stream, p)
			return
		}
	case kindLeave:
		left()
		answer = answerTaken
	}
	_, _ = stream.Write([]byte{answer})
	_ = stream.Close()
}

// ask reports whether this node serves a mesh. A call without a mesh is for any node.
func (l *listener) ask(ctx context.Context, mesh wire.ID) byte {
	if mesh.IsZero() {
		return answerTaken
	}
	ctx, cancel := context.WithTimeout(ctx, prefaceWithin)
	defer cancel()
	switch _, local, err := l.directory.Owner(ctx, mesh); {
	case err != nil:
		return answerBusy
	case !local:
		return answerMoved
	}
	return answerTaken
}

// take serves a stream, or answers that this node takes nothing now. The answer goes out before
// anybody else writes: two writers at a time would confuse smux's account of the window.
func (l *listener) take(leave context.Context, stream *smux.Stream, p preface) {
	taken := func() error {
		_, err := stream.Write([]byte{answerTaken})
		_ = stream.SetDeadline(time.Time{})
		return err
	}
	if p.Kind == kindCall {
		if taken() == nil {
			l.calls.serve(stream, p.Client)
		} else {
			_ = stream.Close()
		}
		return
	}
	if err := l.server.ServeRelayed(withTrace(leave, p.Trace), stream, p.Client, taken); err != nil {
		l.log.Debug("a relayed socket was not served", zap.Error(err))
		_, _ = stream.Write([]byte{answerBusy})
		_ = stream.Close()
	}
}
