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

// Options say what a daemon is for. Dir is required.
type Options struct {
	Dir   peer.Dir
	Build local.Build
	// Host tells what the programs of the sessions publish; nil: nothing.
	Host Host
	// Log gets the daemon's life; nil logs nothing.
	Log *slog.Logger
	// HTTPClient connects to the brokers; nil means that of peer.Options.
	HTTPClient *http.Client

	// every is how often processes and files are looked at; 0: every second.
	every time.Duration
	// maxUnread is how many messages of one member may be unread with one session;
	// 0: maxUnreadOf.
	maxUnread int
	// doubtAfter is when what was handed out is unread again while nobody says what
	// became of it; 0: 20 s.
	doubtAfter time.Duration
	// correctAfter is how long a process may publish another session than its hooks
	// have told; 0: 10 s.
	correctAfter time.Duration
	// fileSystem names the network file system that a path is on; nil: netfs.Kind.
	fileSystem func(path string) (kind string)
	// wall is the clock that a user reads; nil: time.Now.
	wall func() time.Time
	// silenceLimit and returnLimit stand for the constants of these names; 0: those.
	silenceLimit, returnLimit time.Duration
}

// Host is the program of which the sessions are, as far as it shows on this
// machine.
type Host interface {
	// Published returns what the program that runs as process pid says of itself in its
	// config directory, "" for the usual one; false when it says nothing. It must return
	// quickly.
	Published(configDir string, pid int) (Published, bool)
	// Conversation says what the conversation that the program keeps on disk knows of a
	// call that has handed out messages.
	Conversation(Call) Answered
}

// Call is a call that has handed out messages to a session.
type Call struct {
	SessionID, ToolUse string
	Transcript         string   // the file of the conversation; "": not known
	ConfigDir          string   // of the program; "": the usual one
	Messages           []string // their ids
}

// Answered is what a conversation knows of a call.
type Answered struct {
	Kept  bool     // there is a conversation on disk
	Known bool     // the answer to the call is in it, or that there is none
	Shown []string // the messages in the answer
}

// Published is what a program says of itself.
type Published struct {
	SessionID string
	ProcStart string      // as process.ID.Start; "" when it does not say
	Namespace string      // of its number, as process.Number.In takes it; "" when it does not say
	Status    wire.Status // Idle or Working; "" when it does not say
	Reason    string      // with Working: "waiting" when it waits for its user
}

var (
	// errRunning is returned when another daemon serves the same directory.
	errRunning = errors.New("another claudemesh daemon is running for this directory")
	// errDirLost is returned when the directory was removed or replaced: nobody can
	// find a daemon there, and another one may be serving what is in its place.
	errDirLost = errors.New("the directory of this daemon is gone")
)

// daemon is a running daemon.
type daemon struct {
	// static after Run has set it up
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
	dir     os.FileInfo            // of the directory, when the daemon began
	files   map[string]os.FileInfo // of what the daemon keeps there, by name
	signed  time.Time              // when the lock file was last touched
	looked  moment                 // of the last look at the clocks
	trouble string                 // what kept the daemon from healing at the last try
	socket  socket

	ctx   context.Context // ends when the daemon stops
	stop  context.CancelFunc
	group sync.WaitGroup // of everything that Run waits for
	calls chan struct{}  // has room for as many calls as are served at once
	quit  chan struct{}  // has room for one: somebody has asked for a shutdown
	lost  chan struct{}  // has room for one: the directory is gone

	changes sync.Mutex // see the package comment
	config  configState

	mu       sync.Mutex
	info     local.Info
	sessions map[string]*session // by UUID
	procs    map[process.Number]*proc
	tokens   map[[32]byte]*proc // by the token's hash
	meshes   map[string]*joined // by id
	takes    takes
	lines    map[lineName]*line       // the newest of each name, until it has ended
	touched  map[string]time.Time     // sessions whose last activity is to be written
	newest   *session                 // the one that was the last to be active
	awaited  map[string]chan struct{} // by client_message_id: who waits for news
	leave    bool                     // stop with a clean leave
	stopped  bool                     // nothing is begun any more

	// mail is held while mail is read or handed out and the desks are told, so that
	// no desk takes for unread what was handed out meanwhile. Taken before mu.
	mail sync.Mutex
}

// Run serves the directory until ctx ends or somebody asks for a shutdown, and
// returns when everything is written and closed. Unless the shutdown asks for
// more, presences stay leased: a daemon that follows soon takes them over.
// errRunning when another daemon does it already, errDirLost when the directory
// has gone.
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
	if _, err := peer.RepairModes(o.Dir); err != nil {
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

// open reads what the daemon before has left on disk.
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

// serve runs everything until ctx ends or a shutdown is asked for.
func (d *daemon) serve(ctx context.Context) error {
	if err := d.restore(); err != nil {
		d.end()
		return fmt.Errorf("restore sessions: %w", err)
	}
	server := d.newServer()
	failed := make(chan error, 1)
	d.socket.server, d.socket.failed = server, failed
	d.info = local.Info{PID: os.Getpid(), Build: d.o.Build, Token: newToken()}
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
		d.socket.leave() // there may be another daemon's by now
	} else {
		d.retract()
	}
	d.shutDown(server)
	return err
}

// shutDown waits, after end, for the calls under way and for everything that runs.
func (d *daemon) shutDown(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), callsGrace)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close() // what is left is cut off
	}
	d.group.Wait()
	d.log.Info("daemon stopped")
}

// end stops the goroutines, and the connections: with a leave if that was asked for.
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

// begin counts a call in as something that Run waits for; false when the daemon
// stops. The caller must call d.group.Done at its end.
func (d *daemon) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stopped {
		d.group.Add(1)
	}
	return !d.stopped
}

// write is a context for writes that must not be cut off by a caller who leaves.
func (d *daemon) write() context.Context { return context.WithoutCancel(d.ctx) }
