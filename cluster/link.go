package cluster

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/xtaci/smux"
	"go.uber.org/zap"
)

const (
	// connectWithin is how long a connection to another node may take, with its handshake.
	connectWithin = 3 * time.Second
	// The pause before the next attempt doubles from pauseMin to pauseMax, and is cut at random.
	pauseMin = 100 * time.Millisecond
	pauseMax = 3 * time.Second
)

// errElsewhere reports that a node's advertised address leads to something else.
var errElsewhere = errors.New("the advertised address leads elsewhere")

// link is this node's connection to another one, for the streams that this node opens. The other
// node has a link of its own for those in the other direction.
type link struct {
	node Node
	name string // of the node, for the log
	key  *Key
	log  *zap.Logger
	stop context.CancelFunc
	news func()        // called when session or err has changed
	turn int           // which address of the node's host comes first; owned by run
	gone chan struct{} // closed when run has ended

	mu      sync.Mutex
	session *session      // nil: there is no connection
	err     error         // why
	changed chan struct{} // closed, and replaced, when session or err changes
}

func newLink(node Node, self bool, key *Key, log *zap.Logger, stop context.CancelFunc, news func()) *link {
	name := "another node"
	if self {
		name = "this node itself at its advertised address"
	}
	return &link{
		node: node, name: name, key: key, stop: stop, news: news, gone: make(chan struct{}), changed: make(chan struct{}),
		log: log.With(zap.Int64("node", node.ID), zap.String("address", node.Address)),
	}
}

// run keeps the link connected until ctx ends.
func (l *link) run(ctx context.Context) {
	defer close(l.gone)
	pause, failing := pauseMin, false
	for ctx.Err() == nil {
		session, err := l.dial(ctx)
		if err == nil {
			l.log.Info("connected to " + l.name)
			l.set(session, nil)
			closed := context.AfterFunc(ctx, func() { _ = session.Close() })
			err = fmt.Errorf("the link to %s is broken: %w", l.node.Address, session.awaitClosed())
			closed()
			pause, failing = pauseMin, false
		}
		l.set(nil, err)
		if ctx.Err() != nil {
			return
		}
		if !failing {
			failing = true
			l.log.Warn("no connection to "+l.name+"; retrying", zap.Error(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
		pause = min(2*pause, pauseMax)
	}
}

func (l *link) set(session *session, err error) {
	defer l.news() // when the lock is free again
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session, l.err = session, err
	close(l.changed)
	l.changed = make(chan struct{})
}

// state returns the session, or nil with the reason why there is none and a channel that is closed
// when that changes.
func (l *link) state() (*session, error, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session, l.err, l.changed
}

// open begins a stream to the node. It waits for a connection until ctx ends, or until the node has
// left the cluster and so another one may have the mesh.
func (l *link) open(ctx context.Context, p preface) (*stream, error) {
	for {
		session, err, changed := l.state()
		if session != nil {
			if stream, err := session.open(); err == nil {
				return l.greet(ctx, stream, p)
			}
		}
		select {
		case <-changed:
		case <-l.gone:
			return nil, errGone
		case <-ctx.Done():
			if err == nil {
				err = ctx.Err()
			}
			return nil, fmt.Errorf("no connection to the node at %s: %w", l.node.Address, err)
		}
	}
}

// The other node answers a preface with one of these.
const (
	answerTaken byte = 'y'
	answerMoved byte = 'm' // the mesh is not the node's
	answerBusy  byte = 'n' // the node takes nothing now
)

var (
	errMoved = errors.New("the node does not own the mesh")
	errBusy  = errors.New("the node takes no more sockets")
	errGone  = errors.New("the node has left the cluster, or this one is closing its links")
)

func (l *link) greet(ctx context.Context, stream *stream, p preface) (*stream, error) {
	stop := context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	var first bytes.Buffer
	err := writePreface(&first, p)
	if err == nil {
		_, err = stream.Write(first.Bytes())
	}
	var answer [1]byte
	if err == nil {
		_, err = io.ReadFull(stream, answer[:])
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	switch {
	case err != nil:
		err = fmt.Errorf("ask the node at %s: %w", l.node.Address, err)
	case answer[0] == answerTaken:
		return stream, nil
	case answer[0] == answerMoved:
		err = errMoved
	default:
		err = errBusy
	}
	_ = stream.Close()
	return nil, err
}

// dial connects to the node, and makes sure that it is the node. If its host has several addresses,
// dial tries one after the other.
func (l *link) dial(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	host, port, err := net.SplitHostPort(l.node.Address)
	if err != nil {
		return nil, l.explain(err)
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addresses) == 0 {
		err = errors.New("its host has no address")
	}
	if err != nil {
		return nil, l.explain(err)
	}
	var failed error
	for range addresses {
		address := addresses[l.turn%len(addresses)].Unmap()
		conn, err := l.connect(ctx, host, net.JoinHostPort(address.String(), port))
		if err == nil {
			return l.multiplex(conn)
		}
		l.turn++ // the next attempt begins with another one, if this one was silent
		if failed == nil || errors.Is(err, errElsewhere) {
			failed = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// connect connects to one address of the node's host.
func (l *link) connect(ctx context.Context, host, address string) (net.Conn, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, l.explain(err)
	}
	proven := false
	config := l.key.config(func(key ed25519.PublicKey) error {
		if !key.Equal(ed25519.PublicKey(l.node.PublicKey)) {
			return errAnotherNode
		}
		proven = true
		return nil
	})
	config.ServerName = host
	conn := tls.Client(raw, config)
	if err = conn.HandshakeContext(ctx); err == nil {
		err = awaitWelcome(ctx, conn)
	}
	switch {
	case err == nil:
		return conn, nil
	case proven:
		err = l.explain(err)
	default:
		err = l.explain(&strangeError{err})
	}
	_ = raw.Close()
	return nil, err
}

func (l *link) multiplex(conn net.Conn) (*session, error) {
	arrivals := newArrivals(newAttentive(conn))
	batched := newBatched(arrivals)
	multiplexed, err := smux.Client(batched, multiplexing())
	if err != nil {
		_ = batched.Close()
		return nil, fmt.Errorf("multiplex the link to %s: %w", l.node.Address, err)
	}
	return &session{multiplexed, batched, arrivals}, nil
}

// welcome is what a node writes first, once it has verified the other end. In TLS 1.3 a client is
// not told otherwise that its certificate was accepted.
const welcome byte = 'w'

func awaitWelcome(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	var first [1]byte
	_, err := io.ReadFull(conn, first[:])
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && first[0] != welcome {
		err = fmt.Errorf("it answers with %q", first[:])
	}
	return err
}

// errAnotherNode reports that the other end has the key of another node.
var errAnotherNode = errors.New("another node")

// strangeError is what went wrong before the other end has proven that it is the node.
type strangeError struct{ error }

func (e *strangeError) Unwrap() error { return e.error }

// speaks reports whether the other end has said something.
func (e *strangeError) speaks() bool {
	var network *net.OpError
	if errors.As(e.error, &network) {
		return network.Op == "remote error" // an alert of TLS
	}
	return !isEnd(e.error) && !isTimeout(e.error)
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded)
}

// explain says what an operator can do about a failed connection.
func (l *link) explain(err error) error {
	var strange *strangeError
	var remote *net.OpError
	switch {
	case errors.Is(err, errAnotherNode):
		return fmt.Errorf("the node %d (process %d on host %s) advertises %s, where another node answers; "+
			"set its `cluster { advertise <address> }` to an address at which all other nodes reach it: %w",
			l.node.ID, l.node.PID, l.node.Host, l.node.Address, errElsewhere)
	case errors.As(err, &strange) && strange.speaks():
		return fmt.Errorf("the node %d (process %d on host %s) advertises %s, where something other than a node answers (%w); "+
			"set its `cluster { advertise <address> }` to the address of its cluster port: %w",
			l.node.ID, l.node.PID, l.node.Host, l.node.Address, err, errElsewhere)
	case isTimeout(err):
		return fmt.Errorf("the node at %s does not answer within %s: %w", l.node.Address, connectWithin, err)
	case isEnd(err):
		return fmt.Errorf("the node at %s closes the connection at once: %w", l.node.Address, err)
	case errors.As(err, &remote) && remote.Op == "remote error":
		return fmt.Errorf("connect to the node at %s: it refuses this node's key, "+
			"as it does when this node is not in its database: %w", l.node.Address, err)
	}
	return fmt.Errorf("connect to the node at %s: %w", l.node.Address, err)
}
