package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/netfs"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// Options configure a daemon. Dir is required.
type Options struct {
	Dir   peer.Dir
	Build local.Build
	// Host reads what the sessions' programs publish. If nil, the daemon does without.
	Host Host
	// Log receives the daemon's log. If nil, the daemon logs nothing.
	Log *slog.Logger
	// HTTPClient connects to the brokers. If nil, the default of peer.Options applies.
	HTTPClient *http.Client

	// every is how often the daemon looks at processes and files. 0 means every second.
	every time.Duration
	// maxUnread is how many unread messages from one member a session may have. 0 means
	// maxUnreadOf.
	maxUnread int
	// doubtAfter is when a message that was handed out becomes unread again if nothing shows
	// whether it reached the context. 0 means 20 s.
	doubtAfter time.Duration
	// correctAfter is how long a process may publish a different session than its hooks
	// reported. 0 means 10 s.
	correctAfter time.Duration
	// fileSystem returns the name of the network file system that holds a path. If nil, the
	// daemon uses netfs.Kind.
	fileSystem func(path string) (kind string)
	// wall is the clock that users see. If nil, the daemon uses time.Now.
	wall func() time.Time
	// silenceLimit and returnLimit override the constants of the same names unless they are 0.
	silenceLimit, returnLimit time.Duration
}

// Host is the program that runs the sessions, as far as the daemon can observe it on this
// machine.
type Host interface {
	// Published returns what the program that runs as process pid publishes about itself in its
	// config directory. "" is the usual directory. The result is false if the program publishes
	// nothing. Published must return quickly.
	Published(configDir string, pid int) (Published, bool)
	// Conversation returns what the conversation that the program keeps on disk shows about a
	// call that handed out messages.
	Conversation(Call) Answered
}

// Call is a call that handed out messages to a session.
type Call struct {
	SessionID, ToolUse string
	Transcript         string   // the file of the conversation; "" if unknown
	ConfigDir          string   // of the program; "" for the usual one
	Messages           []string // their ids
}

// Answered is what a conversation shows about a call.
type Answered struct {
	Kept  bool     // the conversation is on disk
	Known bool     // it shows the answer, or that there will be none
	Shown []string // the messages in the answer
}

// Published is what a program publishes about itself.
type Published struct {
	SessionID string
	ProcStart string      // as in process.ID.Start; "" if unknown
	Namespace string      // of its pid, as process.Number.In takes it; "" if unknown
	Status    wire.Status // Idle or Working; "" if unknown
	Reason    string      // with Working: "waiting" if it waits for its user
}

var (
	// errRunning means that another daemon serves the same directory.
	errRunning = errors.New("another claudemesh daemon is running for this directory")
	// errDirLost means that somebody removed or replaced the directory. No program can find the
	// daemon there any more, and another daemon may serve the directory that replaced it.
	errDirLost = errors.New("the directory of this daemon is gone")
)

// daemon is a running daemon.
type daemon struct {
	// fixed once Run has set it up
	o        Options
	log      *slog.Logger
	store    *store.Store
	inbox    *inbox.Inbox
	contacts inbox.Contacts
	keys     identity.SessionStore
	started  time.Time
	hostname string

	// owned by Run and its watch loop
	lock    *peer.FileLock
	dir     os.FileInfo            // the directory when the daemon started
	files   map[string]os.FileInfo // the daemon's files there, by name
	signed  time.Time              // when the daemon last touched the lock file
	looked  moment                 // when the daemon last read the clocks
	trouble string                 // why the last heal failed; "" if it did not
	socket  socket

	ctx   context.Context // ends when the daemon stops
	stop  context.CancelFunc
	group sync.WaitGroup // all goroutines and calls that Run waits for
	calls chan struct{}  // holds a token for each call being served
	quit  chan struct{}  // capacity 1: a caller asked for a shutdown
	lost  chan struct{}  // capacity 1: the directory is gone

	changes    sync.Mutex // see the package comment
	config     configState
	unfinished bool // a hand-over has failed; guarded by changes

	mu       sync.Mutex
	info     local.Info
	sessions map[string]*session // by UUID
	procs    map[process.Number]*proc
	tokens   map[[32]byte]*proc // by the token's hash
	meshes   map[string]*joined // by id
	takes    takes
	lines    map[lineName]*line       // the newest of each name, until it has ended
	touched  map[string]time.Time     // sessions whose last activity is not yet on disk
	newest   *session                 // the most recently active session
	awaited  map[string]chan struct{} // by client_message_id: the callers that wait for news
	leave    bool                     // leave the meshes when stopping
	stopped  bool                     // no new call or goroutine may start

	// mail is held from reading or handing out mail until the desks know of it, so that no desk
	// counts a message as unread that was handed out in between. It is taken before mu.
	mail sync.Mutex
}

// Run serves the directory until ctx ends or a caller asks for a shutdown. It returns once
// everything is written and closed. Unless the shutdown asks to leave, presences stay leased so
// that the next daemon can take them over soon. Run returns errRunning if another daemon serves
// the directory, and errDirLost if the directory is gone.
func Run(ctx context.Context, o Options) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.every == 0 {
		o.every = time.Second
	}
	if o.correctAfter == 0 {
		o.correctAfter = correctAfter
	}
	if o.doubtAfter == 0 {
		o.doubtAfter = doubtAfter
	}
	if o.fileSystem == nil {
		o.fileSystem = netfs.Kind
	}
	if o.wall == nil {
		o.wall = time.Now
	}
	if o.silenceLimit == 0 {
		o.silenceLimit = silenceLimit
	}
	if o.returnLimit == 0 {
		o.returnLimit = returnLimit
	}
	if o.maxUnread == 0 {
		o.maxUnread = maxUnreadOf
	}
	if err := o.Dir.Make(); err != nil {
		return err
	}
	repaired, err := peer.RepairModes(o.Dir)
	for _, change := range repaired {
		o.Log.Warn(change)
	}
	if err != nil {
		return err
	}
	lock, err := takeLock(o.Dir)
	if err != nil {
		return disk.Unwritable(o.Dir, err)
	}
	d, err := open(ctx, o)
	if err != nil {
		released(lock)
		return disk.Unwritable(o.Dir, err)
	}
	d.lock = lock
	defer func() { released(d.lock) }()
	defer d.close()
	return disk.Unwritable(o.Dir, d.serve(ctx))
}

// open reads what the previous daemon left on disk.
func open(ctx context.Context, o Options) (*daemon, error) {
	d := &daemon{
		o: o, log: o.Log, keys: identity.OpenSessionStore(peer.SessionsRoot(o.Dir)), started: time.Now(),
		calls: make(chan struct{}, maxCalls), quit: make(chan struct{}, 1), lost: make(chan struct{}, 1),
		sessions: make(map[string]*session), procs: make(map[process.Number]*proc), tokens: make(map[[32]byte]*proc),
		meshes: make(map[string]*joined), lines: make(map[lineName]*line), touched: make(map[string]time.Time), awaited: make(map[string]chan struct{}),
	}
	d.hostname, _ = os.Hostname()
	if warning := disk.NetworkFS(o.Dir, o.fileSystem(string(o.Dir))); warning != "" {
		d.log.Warn(warning)
	}
	var err error
	if d.store, err = store.Open(ctx, o.Dir); err != nil {
		return nil, err
	}
	if d.inbox, err = inbox.Open(ctx, o.Dir); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	if err := d.rememberFiles(); err != nil {
		d.close()
		return nil, err
	}
	d.contacts = d.inbox.Contacts()
	d.ctx, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	return d, nil
}

func (d *daemon) close() {
	if err := errors.Join(d.inbox.Close(), d.store.Close()); err != nil {
		d.log.Error("close", "error", err)
	}
}

// serve runs everything until ctx ends or a caller asks for a shutdown.
func (d *daemon) serve(ctx context.Context) error {
	defer d.group.Wait() // also if the daemon fails to start
	if err := d.restore(); err != nil {
		d.end()
		return fmt.Errorf("restore sessions: %w", err)
	}
	server := d.newServer()
	failed := make(chan error, 1)
	d.socket.server, d.socket.failed = server, failed
	d.mu.Lock()
	d.info = local.Info{PID: os.Getpid(), Build: d.o.Build, Token: newToken()}
	d.mu.Unlock()
	path, err := d.socket.open(d)
	if err != nil {
		d.end()
		return err
	}
	d.mu.Lock()
	d.info.Socket = path
	d.mu.Unlock()
	d.looked = d.now()
	d.group.Go(d.watchLoop)
	if err = d.announce(); err == nil {
		d.log.Info("daemon started", "pid", os.Getpid(), "version", d.o.Build.Version, "socket", path)
		select {
		case <-ctx.Done():
		case <-d.quit:
		case <-d.lost:
			err = errDirLost
		case err = <-failed:
			err = fmt.Errorf("serve the socket: %w", err)
		}
	}
	d.end()
	if errors.Is(err, errDirLost) {
		d.socket.leave() // the path may belong to another daemon by now
	} else {
		d.retract()
	}
	d.shutDown(server)
	return err
}

// shutDown waits, after end, for running calls and goroutines.
func (d *daemon) shutDown(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), callsGrace)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close() // cut off the remaining calls
	}
	d.group.Wait()
	d.log.Info("daemon stopped")
}

// end stops the goroutines and closes the connections. It leaves the meshes if the shutdown
// asked for that.
func (d *daemon) end() {
	d.changes.Lock()
	defer d.changes.Unlock()
	d.mu.Lock()
	leave := d.leave
	lines := make([]*line, 0, len(d.lines))
	for _, l := range d.lines {
		lines = append(lines, l)
	}
	sessions := d.sessions
	d.sessions = make(map[string]*session)
	d.stopped = true
	d.mu.Unlock()
	for _, l := range lines {
		if !leave {
			l.abandon()
		}
		l.hangUp()
	}
	d.stop()
	for _, s := range sessions {
		s.desk.Close()
	}
	d.writeTouched()
}

// begin adds a call to the group that Run waits for. It returns false if the daemon is
// stopping. Otherwise the caller must call d.group.Done at its end.
func (d *daemon) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopped {
		d.group.Add(1)
	}
	return !d.stopped
}

// writeContext returns a context for writes that must finish even if the caller hangs up.
func (d *daemon) writeContext() context.Context { return context.WithoutCancel(d.ctx) }
