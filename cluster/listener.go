package cluster

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/xtaci/smux"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/claudemesh/claudemesh/wire"
)

// prefaceWithin is how long the first bytes of a stream may take.
const prefaceWithin = 5 * time.Second

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
	roster    *roster
	crowd     crowd

	life context.Context // of the connections
	news func()          // called when a node's first link has come, or its last one has gone

	mu    sync.Mutex
	links map[string]int // how many there are from each node, by its key
}

// A node logs each warning that strangers can cause at most warnings times in warnWithin.
const (
	warnings   = 10
	warnWithin = 10 * time.Second
)

func (r *Relay) newListener(l net.Listener, server Server, handler http.Handler) *listener {
	sampled := r.log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, warnWithin, warnings, 0)
	}))
	return &listener{
		Listener: l, key: r.key, directory: r.directory, server: server, calls: newCalls(handler), log: sampled,
		roster: &roster{directory: r.directory, life: r.life}, life: r.life, news: r.stir, links: make(map[string]int),
	}
}

// run accepts connections until the listener is closed, and waits for those that it has accepted.
func (l *listener) run() {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || l.life.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return
		}
		if err != nil {
			l.log.Warn("accepting a connection of another node failed", zap.Error(err))
			pause(l.life, pauseMin) // too many open files, for example
			continue
		}
		n, full := l.crowd.admit(conn)
		if full {
			l.log.Warn("too many connections at the cluster port do not prove that they come from nodes; dropped one of the oldest",
				zap.Int("limit", crowdLimit), zap.Stringer("newest", conn.RemoteAddr()))
		}
		connections.Go(func() { l.serve(n) })
	}
}

// serve serves one connection.
func (l *listener) serve(raw *newcomer) {
	stop := context.AfterFunc(l.life, func() { _ = raw.Close() })
	defer stop()
	conn := tls.Server(raw, l.key.config(l.roster.verify))
	err := l.handshake(conn)
	if !l.crowd.leave(raw) {
		return // it is closed
	}
	if err != nil {
		_ = raw.Close()
		l.refused(raw, err)
		return
	}
	defer l.linkedBy(conn.ConnectionState())()
	batched := newBatched(newAttentive(conn))
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

// refused logs why a connection is not a link. Something that says nothing may be the check of a
// load balancer.
func (l *listener) refused(conn *newcomer, err error) {
	level := zap.WarnLevel
	if !conn.spoken {
		level = zap.DebugLevel
	}
	l.log.Log(level, "refused a connection at the cluster port", zap.Stringer("from", conn.RemoteAddr()), zap.Error(err))
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

// linkedBy counts a link of the node that a connection comes from, until its end.
func (l *listener) linkedBy(state tls.ConnectionState) (end func()) {
	key := string(state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)) // as verified
	l.count(key, 1)
	return func() { l.count(key, -1) }
}

func (l *listener) count(key string, change int) {
	l.mu.Lock()
	before := l.links[key]
	now := before + change
	l.links[key] = now
	if now == 0 {
		delete(l.links, key)
	}
	l.mu.Unlock()
	if before == 0 || now == 0 {
		l.news()
	}
}

// linked reports whether a node has a link to this one.
func (l *listener) linked(n Node) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[string(n.PublicKey)] > 0
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
