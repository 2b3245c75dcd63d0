package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/wire"
)

// Directory tells where meshes are. *Owners implements it.
type Directory interface {
	Self() (id int64, ok bool)
	Owner(ctx context.Context, mesh wire.ID) (node Node, local bool, err error)
	Forget(mesh wire.ID)
	Nodes(ctx context.Context) ([]Node, error)
	Watch() <-chan struct{}
	Elsewhere(is bool)
}

// Relay connects this node with all others.
type Relay struct {
	key       *Key
	directory Directory
	log       *zap.Logger

	life context.Context
	end  context.CancelFunc
	wait sync.WaitGroup // for all but the splices

	splices sync.WaitGroup

	mu       sync.Mutex
	listener *listener // nil before Serve
	links    map[int64]*link
	relayed  map[net.Conn]struct{} // the sockets of clients
	closed   bool                  // no more links and sockets are taken
	problem  error                 // see Problem

	judge   judge         // owned by follow
	stirred chan struct{} // holds an element when a link has come or gone since follow looked at them
}

// NewRelay returns a relay that connects to other nodes as they are needed. The public half of key
// is in this node's row of the database.
func NewRelay(key *Key, directory Directory, log *zap.Logger) *Relay {
	r := &Relay{
		key: key, directory: directory, log: log, links: make(map[int64]*link), relayed: make(map[net.Conn]struct{}),
		problem: errUnproven, judge: judge{patience: unreachedFor}, stirred: make(chan struct{}, 1),
	}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// Serve begins to connect to all other nodes, and to serve them: their sockets with server, and
// their requests with handler; see Client. It returns at once, and is to be called once.
func (r *Relay) Serve(l net.Listener, server Server, handler http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = l.Close()
		return
	}
	listener := r.newListener(l, server, handler)
	r.listener = listener
	r.wait.Go(listener.calls.run)
	r.wait.Go(listener.run)
	r.wait.Go(func() { r.follow(listener) })
}

const (
	// lookAgain is the least time between two looks at the nodes of the cluster.
	lookAgain = 500 * time.Millisecond
	// askAgain is the same for the owner of a mesh.
	askAgain = 50 * time.Millisecond
	// attempt is how long one owner may take to accept a socket before the relay asks again
	// which node is the owner.
	attempt = 2 * time.Second
)

// follow keeps a link to every live node, and watches those to this node.
func (r *Relay) follow(listener *listener) {
	r.judge.last = time.Now()
	for r.life.Err() == nil {
		changed, asked := r.directory.Watch(), time.Now()
		assess := func() {}
		if self, ok := r.directory.Self(); !ok {
			r.keep(nil) // nobody would let this node in
		} else if nodes, err := r.directory.Nodes(r.life); err == nil {
			listener.roster.learn(nodes, asked)
			r.keep(nodes)
			assess = func() { r.assess(r.look(self, nodes, listener)) }
		} else if r.life.Err() == nil {
			r.log.Debug("could not read the nodes of the cluster", zap.Error(err))
		}
		assess()
		r.rest(changed, assess)
	}
}

// rest waits until it is time to look at the nodes again. Meanwhile it calls assess when a link has
// come or gone.
func (r *Relay) rest(changed <-chan struct{}, assess func()) {
	for soon := time.After(lookAgain); soon != nil || changed != nil; {
		select {
		case <-r.life.Done():
			return
		case <-soon:
			soon = nil
		case <-changed:
			changed = nil
		case <-r.stirred:
			assess()
		}
	}
}

// stir tells follow that a link has come or gone.
func (r *Relay) stir() {
	select {
	case r.stirred <- struct{}{}:
	default:
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func waitFor(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-changed:
	}
}

// keep connects to the live nodes, and drops the links to those that were removed: their sockets are
// cut, so that their clients connect again at once. A node whose lease has run out keeps its meshes,
// and so its link, until it is removed: after an outage of the database it may renew its lease.
func (r *Relay) keep(nodes []Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := make(map[int64]bool)
	for _, n := range nodes {
		if known[n.ID] = n.Address != ""; known[n.ID] && n.Live {
			r.linkLocked(n)
		}
	}
	for id, l := range r.links {
		if !known[id] {
			l.stop()
			delete(r.links, id)
		}
	}
}

// linkLocked returns the link to a node; nil: the relay is closed. The link to itself shows a node
// whether its advertised address leads to it.
func (r *Relay) linkLocked(n Node) *link {
	if r.closed {
		return nil
	}
	l := r.links[n.ID]
	if l == nil {
		ctx, stop := context.WithCancel(r.life)
		self, _ := r.directory.Self()
		l = newLink(n, n.ID == self, r.key, r.log, stop, r.stir)
		r.links[n.ID] = l
		r.wait.Go(func() { l.run(ctx) })
	}
	return l
}

// Relayed returns how many sockets this node relays to others.
func (r *Relay) Relayed() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(len(r.relayed))
}

// Route finds the node that serves a mesh. If this is the node itself, or if there is no such mesh,
// take is nil. Otherwise the owner waits for a socket; take hands the socket over with what was
// already read of it, and must be called once. Route waits for an owner until ctx ends. The owner learns
// of the span in ctx.
func (r *Relay) Route(ctx context.Context, mesh wire.ID, client netip.Addr) (take func(socket net.Conn, early []byte), err error) {
	stream, err := r.reach(ctx, preface{Kind: kindSocket, Mesh: mesh, Client: client, Trace: traceOf(ctx)})
	if stream == nil || err != nil {
		return nil, err
	}
	return func(socket net.Conn, early []byte) { r.relay(socket, stream, early) }, nil
}

// reach opens a stream to the owner of a mesh, or returns nil if no other node is the owner.
func (r *Relay) reach(ctx context.Context, p preface) (*stream, error) {
	for {
		changed := r.directory.Watch()
		node, local, err := r.directory.Owner(ctx, p.Mesh)
		if err == nil && local || errors.Is(err, ErrNoMesh) {
			return nil, nil
		}
		if err == nil {
			var s *stream
			if s, err = r.open(ctx, node, p); err == nil {
				return s, nil
			}
			r.directory.Forget(p.Mesh)
		}
		pause(ctx, askAgain)
		if !errors.Is(err, errMoved) {
			waitFor(ctx, changed)
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("reach the owner of mesh %s: %w", p.Mesh, err)
		}
	}
}

func (r *Relay) open(ctx context.Context, node Node, p preface) (*stream, error) {
	r.mu.Lock()
	l := r.linkLocked(node)
	r.mu.Unlock()
	if l == nil {
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	return l.open(ctx, p)
}

// relay passes bytes between a client and the owner, in the background.
func (r *Relay) relay(socket net.Conn, owner *stream, early []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = socket.Close()
		_ = owner.Close()
		return
	}
	r.relayed[socket] = struct{}{}
	r.splices.Add(1)
	s := &splice{relay: r, client: socket, owner: owner}
	s.start(early)
}

// forget removes a client's socket from those that this node relays.
func (r *Relay) forget(socket net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.relayed, socket)
	r.splices.Done()
}

// Forward sends a request to the owner of a mesh. It returns nil if no other node is the owner. The
// caller closes the body of the answer.
func (r *Relay) Forward(ctx context.Context, mesh wire.ID, client netip.Addr, req *http.Request) (*http.Response, error) {
	stream, err := r.reach(ctx, preface{Kind: kindCall, Mesh: mesh, Client: client})
	if stream == nil || err != nil {
		return nil, err
	}
	return call(ctx, stream, req)
}

// ForwardTo sends a request to a node.
func (r *Relay) ForwardTo(ctx context.Context, node Node, client netip.Addr, req *http.Request) (*http.Response, error) {
	stream, err := r.open(ctx, node, preface{Kind: kindCall, Client: client})
	if err != nil {
		return nil, err
	}
	return call(ctx, stream, req)
}

// Others returns the other nodes to which this node has a link, connected or not.
func (r *Relay) Others() []Node {
	self, _ := r.directory.Self()
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []Node
	for id, l := range r.links {
		if id != self {
			list = append(list, l.node)
		}
	}
	return list
}

// Leave asks the other nodes to close the sockets that this node relays to them, so that their
// clients connect elsewhere, and waits for that until ctx ends. This node relays no more.
func (r *Relay) Leave(ctx context.Context) {
	r.shut()
	r.mu.Lock()
	var asked sync.WaitGroup
	if len(r.relayed) > 0 {
		for _, l := range r.links {
			if session, _, _ := l.state(); session != nil {
				asked.Go(func() {
					if stream, err := l.open(ctx, preface{Kind: kindLeave}); err == nil {
						_ = stream.Close()
					}
				})
			}
		}
	}
	r.mu.Unlock()
	asked.Wait()
	left := make(chan struct{})
	r.wait.Go(func() {
		r.splices.Wait() // Close ends them at the latest
		close(left)
	})
	select {
	case <-left:
	case <-ctx.Done():
	}
}

// shut makes the relay take nothing more.
func (r *Relay) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.listener != nil {
		_ = r.listener.Close()
	}
}

// Close cuts what is left, and waits until everything is over. It does not wait for clients.
func (r *Relay) Close() {
	r.shut()
	r.end()
	r.cut()
	if l := r.listener; l != nil { // nobody sets it any more
		_ = l.calls.server.Close()
	}
	r.splices.Wait()
	r.wait.Wait()
}

// cut closes the sockets of the clients. A splice that writes to a client that doesn't read would
// end only after clientPatience.
func (r *Relay) cut() {
	var closing sync.WaitGroup
	defer closing.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for socket := range r.relayed {
		closing.Go(func() { _ = socket.Close() })
	}
}
