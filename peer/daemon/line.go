package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/checkpoints"
	"github.com/claudemesh/claudemesh/wire"
)

// lineName identifies a line. At most one connection of each name exists at a time.
type lineName struct {
	mesh    string // id
	session string // UUID; "" is the member's own line
}

// line is one connection to a broker: a member's own in a mesh, or a session's. It outlives the
// clients that serve it.
type line struct {
	// static
	d      *daemon
	name   lineName
	mesh   peer.Mesh
	joined *joined  // of the mesh
	s      *session // nil for the member's own line
	key    identity.KeyPair
	fresh  bool // this line created the key
	former []peer.FormerSession
	about  peer.About
	log    *slog.Logger

	up          chan struct{} // closed at the first connect
	done        chan struct{} // closed when the line has ended
	ctx         context.Context
	cancel      context.CancelFunc
	outboxKick  chan struct{} // each kick channel has capacity 1
	confirmKick chan struct{}
	statusKick  chan struct{}
	reviveKick  chan struct{}
	progress    chan struct{}
	upOnce      sync.Once

	// box guards owner, so that it stays the same while a message is being stored.
	box   sync.RWMutex
	owner *session // nil: the member

	mu        sync.Mutex
	client    *peer.Client
	connected bool
	connects  int
	err       error
	replaced  bool // another connection uses the key now
	abandoned bool
	givingWay bool // to the line of the succeeding session
}

const (
	// retryRefused is when a line tries again after a broker refused it. Somebody may have
	// fixed the cause by then.
	retryRefused = 5 * time.Minute
	// drainGrace is how long the line of an ended session may take to send the session's
	// remaining messages.
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

// newControlLine creates the member's own line.
func (d *daemon) newControlLine(mesh peer.Mesh, j *joined) *line {
	l := d.newLine(mesh, j, nil)
	l.about = peer.About{
		SessionID: "daemon-" + strconv.Itoa(os.Getpid()), PID: int64(os.Getpid()), Cwd: "/", Hostname: cut(d.hostname, wire.MaxNameLen),
		PeerType: "ai", Channel: controlChannel,
	}
	return l
}

// startLineLocked runs a line once the previous line of the same name, if any, has ended.
// before may be nil. Otherwise it gives way when l is connected. The caller holds changes.
func (d *daemon) startLineLocked(l, before *line) {
	d.mu.Lock()
	last := d.lines[l.name]
	d.lines[l.name] = l
	d.mu.Unlock()
	d.group.Go(func() {
		defer d.endLine(l)
		if last != nil {
			last.abandon() // the new line takes over the presence
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

// endLine removes a line that has ended.
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

// giveWay ends a line once its successor is connected. The broker then treats the two as one,
// so peers see neither of them leave.
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

// serve keeps the line connected until it hangs up.
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

// wait blocks until connecting again makes sense. If another connection replaced this one, that
// is when the session becomes active. Otherwise it is after retryRefused. It returns false if
// the line has ended.
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

// serveOnce runs one client until that client gives up.
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
	select { // drop kicks for the previous client
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
	o := peer.Options{
		Mesh: l.mesh, Session: l.key, About: l.about, Formerly: l.former, TakesReceipts: true,
		OnMessage: l.take, OnConfirmation: l.hear, OnState: l.changed, OnRoster: l.joined.roster.stale, OnSystem: l.system,
		HTTPClient: l.d.o.HTTPClient, Logger: l.log,
	}
	if id, err := wire.ParseID(l.mesh.MeshID); err == nil && l.s == nil {
		o.Checkpoints = checkpoints.Open(l.d.o.Dir).Witness(id, l.witnessed)
	}
	return o
}

// witnessed logs what the broker's checkpoints of the audit log say. The commands warn the
// user of what was kept.
func (l *line) witnessed(found *audit.Comparison, err error) {
	switch {
	case err != nil:
		l.log.Warn("keep the checkpoint of the audit log", "error", err)
	case found == nil || found.Outcome.OK() && found.Outcome != audit.Restored:
	default:
		l.log.Warn(checkpoints.Text(found), "kept", found.Kept, "shown", found.Shown)
	}
}

// changed handles a change of the client's state.
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

// system handles the system messages with which protocol v1 brokers report that peers join and
// leave.
func (l *line) system(wire.SystemPush) { l.joined.roster.stale() }

// revive makes a line that has given up try again.
func (l *line) revive() {
	l.mu.Lock()
	down := l.replaced || l.client == nil
	l.mu.Unlock()
	if down {
		kick(l.reviveKick)
	}
}

// hangUp ends the line at once and leaves the mesh.
func (l *line) hangUp() { l.cancel() }

// abandon ends the line without leaving the mesh, so its presence stays leased.
func (l *line) abandon() {
	l.mu.Lock()
	l.abandoned = true
	client := l.client
	l.mu.Unlock()
	if client != nil {
		client.Abandon()
	}
}

// drain waits until the broker has everything that the session left, or until drainGrace has
// passed.
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

// pending reports whether anything waits to be sent.
func (l *line) pending() bool {
	n, err := l.d.store.Waiting(l.d.writeContext(), l.name.mesh, l.name.session)
	if err != nil || n > 0 {
		return err == nil
	}
	list, err := l.d.store.NextConfirmations(l.d.writeContext(), l.name.mesh, l.name.session)
	return err == nil && len(list) > 0
}

// givesWay reports whether the line ends once another line is connected.
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

// current returns the client, which may still be connecting. It returns nil if the line has
// given up.
func (l *line) current() *peer.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client
}

// standing returns the state of the line's connection to its broker.
func (l *line) standing() (connected, replaced bool, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil && !l.connected {
		reason = l.err.Error()
	}
	return l.connected, l.replaced, reason
}
