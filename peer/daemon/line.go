package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// lineName names a line: there is one connection of each at a time.
type lineName struct {
	mesh    string // id
	session string // UUID; "" is the member's own line
}

// line is one connection to a broker, over all clients that serve it: the member's
// own in a mesh, or a session's.
type line struct {
	// static
	d      *daemon
	name   lineName
	mesh   peer.Mesh
	joined *joined  // of the mesh
	s      *session // nil for the member's own
	key    identity.KeyPair
	fresh  bool // the key was made for this line
	former []peer.FormerSession
	about  peer.About
	log    *slog.Logger

	up          chan struct{} // closed at the first connect
	done        chan struct{} // closed when it has ended
	ctx         context.Context
	cancel      context.CancelFunc
	outboxKick  chan struct{} // each has room for one
	confirmKick chan struct{}
	statusKick  chan struct{}
	reviveKick  chan struct{}
	progress    chan struct{}
	upOnce      sync.Once

	// box guards whose mail this is: while a message is stored it stays the same.
	box   sync.RWMutex
	owner *session // nil: the member

	mu        sync.Mutex
	client    *peer.Client
	connected bool
	connects  int
	err       error
	replaced  bool // another connection has taken the key over
	abandoned bool
	givingWay bool // to the line of the session that goes on for this one
}

const (
	// retryRefused is when a line that a broker has refused for good tries again:
	// somebody may have done something about it.
	retryRefused = 5 * time.Minute
	// drainGrace is how long the line of a session that has ended may take to send
	// what the session has left.
	drainGrace = 3 * time.Second

	controlChannel = "claudemesh-daemon"
	sessionChannel = "claudemesh-session"
)

func (d *daemon) newLine(mesh peer.Mesh, j *joined, s *session) *line {
	l := &line{
		d: d, name: lineName{mesh: mesh.MeshID}, mesh: mesh, joined: j, s: s, owner: s,
		up: make(chan struct{}), done: make(chan struct{}),
		outboxKick: make(chan struct{}, 1), confirmKick: make(chan struct{}, 1), statusKick: make(chan struct{}, 1),
		reviveKick: make(chan struct{}, 1), progress: make(chan struct{}, 1),
	}
	if s != nil {
		l.name.session = s.id
	}
	l.log = d.log.With("mesh", mesh.Slug, "session", l.name.session)
	l.ctx, l.cancel = context.WithCancel(d.ctx)
	return l
}

// newControlLine makes the member's own line.
func (d *daemon) newControlLine(mesh peer.Mesh, j *joined) *line {
	l := d.newLine(mesh, j, nil)
	l.about = peer.About{
		SessionID: "daemon-" + strconv.Itoa(os.Getpid()), PID: int64(os.Getpid()), Cwd: "/", Hostname: cut(d.hostname, wire.MaxNameLen),
		PeerType: "ai", Channel: controlChannel,
	}
	return l
}

// startLineLocked runs a line after the one of the same name, if there still is one, has
// ended. before, which may be nil, is a line that gives way when this one is
// connected. The caller holds changes.
func (d *daemon) startLineLocked(l, before *line) {
	d.mu.Lock()
	last := d.lines[l.name]
	d.lines[l.name] = l
	d.mu.Unlock()
	d.group.Go(func() {
		defer d.endLine(l)
		if last != nil {
			last.abandon() // the new one takes the presence over
			last.hangUp()
			<-last.done
		}
		l.serve()
	})
	if before != nil {
		before.mu.Lock()
		before.givingWay = true
		before.mu.Unlock()
		d.group.Go(func() { before.giveWay(l) })
	}
}

// endLine forgets a line that has ended.
func (d *daemon) endLine(l *line) {
	d.mu.Lock()
	if d.lines[l.name] == l {
		delete(d.lines, l.name)
	}
	d.mu.Unlock()
	close(l.done)
}

// giveWayAfter is how long the line of a cleared session waits for its successor.
const giveWayAfter = 10 * time.Second

// giveWay ends a line when its successor is connected: the broker takes the one
// for the other then, and nobody sees either leave.
func (l *line) giveWay(next *line) {
	timeout := time.NewTimer(giveWayAfter)
	defer timeout.Stop()
	select {
	case <-next.up:
	case <-next.done:
	case <-timeout.C:
	case <-l.done:
	case <-l.d.ctx.Done():
	}
	l.hangUp()
}

// serve keeps the line connected until it is hung up.
func (l *line) serve() {
	for l.ctx.Err() == nil {
		err := l.serveOnce()
		if l.ctx.Err() != nil {
			return
		}
		l.mu.Lock()
		l.client, l.connected, l.err, l.replaced = nil, false, err, peer.IsReplaced(err)
		replaced := l.replaced
		l.mu.Unlock()
		l.log.Warn("connection ended", "error", err, "replaced", replaced)
		if !l.wait(replaced) {
			return
		}
	}
}

// wait waits until it makes sense to connect again: after activity of the session
// when another connection has taken it over, or after a while.
func (l *line) wait(replaced bool) bool {
	var retry <-chan time.Time
	if !replaced {
		timer := time.NewTimer(retryRefused)
		defer timer.Stop()
		retry = timer.C
	}
	select {
	case <-l.reviveKick:
		return true
	case <-retry:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// serveOnce runs one client until it ends for good.
func (l *line) serveOnce() error {
	client, err := peer.New(l.options())
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.client, l.replaced = client, false
	abandoned := l.abandoned
	l.mu.Unlock()
	if abandoned {
		return errors.New("the daemon is stopping")
	}
	select { // what was meant for the client before
	case <-l.reviveKick:
	default:
	}
	ctx, cancel := context.WithCancel(l.ctx)
	var workers sync.WaitGroup
	workers.Go(func() { l.outboxLoop(ctx, client) })
	workers.Go(func() { l.confirmLoop(ctx, client) })
	if l.s != nil {
		workers.Go(func() { l.statusLoop(ctx, client) })
	} else {
		workers.Go(func() { l.joined.roster.loop(ctx, l) })
	}
	err = client.Run(l.ctx)
	cancel()
	workers.Wait()
	return err
}

func (l *line) options() peer.Options {
	return peer.Options{
		Mesh: l.mesh, Session: l.key, About: l.about, Formerly: l.former, TakesReceipts: true,
		OnMessage: l.take, OnConfirmation: l.hear, OnState: l.changed, OnRoster: l.joined.roster.stale, OnSystem: l.system,
		HTTPClient: l.d.o.HTTPClient, Logger: l.log,
	}
}

// changed is told how the client stands.
func (l *line) changed(s peer.State) {
	l.mu.Lock()
	l.connected, l.err = s.Connected, s.Err
	if s.Connected {
		l.connects++
	}
	l.mu.Unlock()
	if !s.Connected {
		return
	}
	l.log.Info("connected")
	l.upOnce.Do(func() { close(l.up) })
	kick(l.statusKick)
	l.joined.roster.stale()
}

// system is told of peers that come and go, by brokers of protocol v1.
func (l *line) system(wire.SystemPush) { l.joined.roster.stale() }

// revive has a line try again that has given up.
func (l *line) revive() {
	l.mu.Lock()
	down := l.replaced || l.client == nil
	l.mu.Unlock()
	if down {
		kick(l.reviveKick)
	}
}

// hangUp ends the line with a leave, at once.
func (l *line) hangUp() { l.cancel() }

// abandon ends the line without a leave: its presence stays leased.
func (l *line) abandon() {
	l.mu.Lock()
	l.abandoned = true
	client := l.client
	l.mu.Unlock()
	if client != nil {
		client.Abandon()
	}
}

// drain waits until everything that the session has left is with the broker, or
// that takes too long.
func (l *line) drain() {
	timeout := time.NewTimer(drainGrace)
	defer timeout.Stop()
	kick(l.outboxKick)
	kick(l.confirmKick)
	for l.isConnected() && l.pending() {
		select {
		case <-l.progress:
		case <-timeout.C:
			return
		case <-l.ctx.Done():
			return
		}
	}
}

// pending reports whether there is anything to send.
func (l *line) pending() bool {
	n, err := l.d.store.Waiting(l.d.write(), l.name.mesh, l.name.session)
	if err != nil || n > 0 {
		return err == nil
	}
	list, err := l.d.store.NextConfirmations(l.d.write(), l.name.mesh, l.name.session)
	return err == nil && len(list) > 0
}

// givesWay reports whether the line ends when another one is connected.
func (l *line) givesWay() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.givingWay
}

func (l *line) isConnected() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.connected
}

// current returns the client, which may be on its way to a connection; nil when
// the line has given up.
func (l *line) current() *peer.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

// standing tells how the line stands with its broker.
func (l *line) standing() (connected, replaced bool, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil && !l.connected {
		reason = l.err.Error()
	}
	return l.connected, l.replaced, reason
}
