package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// Options are the parts of a broker.
type Options struct {
	Storage  Storage
	Settings Settings
	Log      *zap.Logger
	Version  string // told by GET /health
	Observer Observer
	Budget   int64           // in bytes, for messages that wait for the storage; 0 means journal.DefaultBudget
	Cluster  *cluster.Owners // over Storage, if the broker is a node of a cluster; nil: all meshes are its own
	Router   Router          // to the other nodes of a cluster; nil: there are none
}

// Broker serves any number of meshes from one storage.
type Broker struct {
	// static after New
	storage Storage
	cluster *cluster.Owners // nil: none
	log     *zap.Logger
	version string
	born    time.Time
	router  Router
	meshes  *mesh.Directory
	journal *journal.Journal
	queue   *queue.Queue
	replays *identity.ReplayGuard
	hooks   *limiters[hookCaller]
	held    heldHooks
	members accounts
	checks  checks
	parked  atomic.Int64 // bytes of the sends that wait for room, see parkedBytes

	auditKey   atomic.Pointer[audit.Key] // set once the storage is open
	pinged     pinged
	swept      time.Time // when pingDue was last called; owned by the sweeper
	unswept    bool      // the log tells that sweeps of the storage fail; owned by storeSweepLoop
	suspension suspension
	pushesHeld atomic.Bool   // by a connection, see holdPushes
	lost       chan struct{} // closed by losing
	loss       error         // why; set before lost is closed
	losing     sync.Once
	settings   atomic.Pointer[Settings]
	draining   atomic.Bool
	hellos     atomic.Uint64 // read so far
	stats      counters
	depth      depth
	tracing    atomic.Pointer[tracing] // nil: off

	mu      sync.Mutex
	phase   phase // see become
	notOpen error // why the storage is not open; nil if it is
	rooms   map[wire.ID]*room
	conns   map[*conn]struct{}

	// loading is held for reading while a room is loaded, and for writing while unused
	// meshes are forgotten.
	loading sync.RWMutex
	loads   singleflight.Group // of rooms, by the mesh's id

	requests requests
	handing  handing

	// life ends with stop, and with it the goroutines counted by wait. A goroutine that is
	// counted may count others; all others use spawn.
	life context.Context
	stop context.CancelFunc
	wait sync.WaitGroup
	// serving ends a short time after Drain, and with it the requests over HTTP.
	serving    context.Context
	endServing context.CancelFunc
	ids        wire.IDSource
}

type phase uint8

const (
	made    phase = iota
	opening       // Start was called, and the storage is not open yet
	open
	stopped
)

const (
	// openRetry is the pause between attempts to open the storage.
	openRetry = time.Second
	// claimRetry is the same while another broker has the storage: when that one stops, its
	// clients are waiting.
	claimRetry = 300 * time.Millisecond
)

var errNotStarted = errors.New("the broker has not been started")

// New makes a broker. Nothing happens before Start.
func New(o Options) *Broker {
	b := &Broker{
		storage: o.Storage, cluster: o.Cluster, log: o.Log, version: o.Version, born: time.Now(), router: o.Router,
		journal: journal.New(o.Storage, o.Log, cmp.Or(o.Budget, journal.DefaultBudget)),
		replays: identity.NewReplayGuard(0),
		hooks:   newLimiters[hookCaller](),
		members: accounts{byMember: make(map[memberRef]*account)},
		checks:  make(checks, max(1, runtime.GOMAXPROCS(0)/2)),
		notOpen: errNotStarted,
		rooms:   make(map[wire.ID]*room),
		conns:   make(map[*conn]struct{}),
		lost:    make(chan struct{}),
		handing: handing{turn: make(chan struct{}, 1), leaves: make(chan struct{})},
	}
	b.stats.observer = o.Observer
	if b.stats.observer == nil {
		b.stats.observer = unobserved{}
	}
	b.stats.know()
	b.journal.Watch(journalObserver{b})
	b.life, b.stop = context.WithCancel(context.Background())
	b.serving, b.endServing = context.WithCancel(b.life)
	b.settings.Store(&o.Settings)
	var meshes mesh.Store = o.Storage
	var gap int64
	if b.cluster != nil {
		meshes, gap = ownMeshes{o.Storage, b}, seqGap
		b.cluster.OnLoss(b.lostMeshes)
	}
	b.meshes = mesh.NewDirectory(meshes, func() int { return b.Settings().MaxMembersPerMesh })
	b.queue = queue.New(o.Storage, b.journal, func() queue.Settings {
		s := b.Settings()
		return queue.Settings{DeliveryLease: s.DeliveryLease, MeshBytes: s.MaxQueueBytesPerMesh, Gap: gap}
	})
	b.queue.OnFailure(b.queueFailed)
	return b
}

// Settings returns the settings in force.
func (b *Broker) Settings() Settings { return *b.settings.Load() }

// Configure puts new settings in force, for all connections at once.
func (b *Broker) Configure(s Settings) { b.settings.Store(&s) }

// Start opens the storage: it runs the migrations and claims to be the only broker. It
// returns an error when trying again is of no use: *storage.NewerSchemaError or
// storage.ErrUnfit. When the storage is merely unreachable, it returns nil and retries;
// Ready tells. Calling it again does nothing.
func (b *Broker) Start(ctx context.Context) error {
	b.mu.Lock()
	if b.phase != made {
		b.mu.Unlock()
		return nil
	}
	b.phase = opening
	b.mu.Unlock()

	err := b.open(ctx)
	if hopeless(err) {
		b.become(made, errNotStarted)
		return err
	}
	if err != nil {
		b.become(opening, err)
		b.openFailed(err)
		b.logNotOpen(err)
	}
	b.spawn(func() { b.run(b.life, err == nil) })
	return nil
}

// become goes to another phase and notes why the storage is not open, unless Stop was called
// meanwhile.
func (b *Broker) become(next phase, notOpen error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase != stopped {
		b.phase, b.notOpen = next, notOpen
	}
}

// spawn runs do in a goroutine that Stop waits for. After Stop was called, it returns false
// and does nothing.
func (b *Broker) spawn(do func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == stopped {
		return false
	}
	b.wait.Go(do)
	return true
}

// hopeless reports whether trying again is of no use.
func hopeless(err error) bool {
	var newer *storage.NewerSchemaError
	return errors.As(err, &newer) || errors.Is(err, storage.ErrUnfit)
}

// open does what must succeed once before the broker serves anybody.
func (b *Broker) open(ctx context.Context) error {
	if err := b.storage.Migrate(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if err := b.storage.Claim(ctx); err != nil {
		return fmt.Errorf("claim the database: %w", err)
	}
	if err := b.loadAuditKey(ctx); err != nil {
		return err
	}
	b.become(open, nil)
	return nil
}

// run opens the storage if it is not open yet, and then runs the journal and the sweeps until
// ctx ends.
func (b *Broker) run(ctx context.Context, isOpen bool) {
	for !isOpen {
		select {
		case <-ctx.Done():
			return
		case <-time.After(b.untilRetry()):
		}
		err := b.open(ctx)
		if err == nil {
			b.log.Info("storage reachable")
			break
		}
		b.mu.Lock()
		was := b.notOpen
		b.mu.Unlock()
		b.become(opening, err)
		b.openFailed(err)
		if storage.ReasonOf(was) != storage.ReasonOf(err) && ctx.Err() == nil {
			b.logNotOpen(err)
		}
	}
	b.wait.Go(func() { b.journal.Run(ctx) })
	b.wait.Go(func() { b.pruneLoop(ctx) })
	if b.cluster != nil {
		b.wait.Go(func() { b.obey(ctx) })
	}
	b.sweepLoop(ctx)
}

// untilRetry is the pause until the next attempt to open the storage.
func (b *Broker) untilRetry() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(b.notOpen, storage.ErrInUse) {
		return claimRetry
	}
	return openRetry
}

// openFailed counts a failure to open the storage. Waiting for another broker is not a failure.
func (b *Broker) openFailed(err error) {
	if !errors.Is(err, storage.ErrInUse) {
		b.storageFailed("open", err)
	}
}

func (b *Broker) logNotOpen(err error) {
	switch {
	case errors.Is(err, cluster.ErrSameAddress):
		b.log.Warn("another node has the address of this one; waiting until that one stops", zap.Error(err))
	case errors.Is(err, storage.ErrInUse):
		b.log.Warn("another broker has the storage; waiting to take over", zap.Error(err))
	default:
		b.log.Error("storage unreachable; retrying", zap.Error(err))
	}
}

// Drain makes the broker refuse new sockets and requests, before Stop.
func (b *Broker) Drain() {
	b.draining.Store(true)
	time.AfterFunc(requestsGrace, b.endServing)
}

// Stop closes all sockets with 1012, so that clients reconnect soon, stores what waits for the
// storage, and closes the storage. Presences keep their leases. When ctx ends, Stop cuts the
// sockets that are left and no longer waits for the storage.
func (b *Broker) Stop(ctx context.Context) error {
	b.Drain()
	b.mu.Lock()
	was := b.phase
	b.phase, b.notOpen = stopped, errNotStarted
	b.mu.Unlock()
	conns := b.allConns()

	polite, cancel := firstHalf(ctx)
	closeAll(polite, conns, endShutdown)
	cancel()
	var err error
	if was == open && !b.isLost() {
		b.saveRooms()
		err = b.journal.Flush(ctx)
	}
	b.queue.Stop()
	b.stop()
	b.wait.Wait()
	if closeErr := b.storage.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close the storage: %w", closeErr))
	}
	return err
}

// firstHalf ends after half of the time that ctx has left, so that peers that do not read
// leave time for the storage.
func firstHalf(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

// closeAtOnce is how many sockets Stop closes at a time.
const closeAtOnce = 128

// closeAll closes every connection with 1012 and waits until they are gone. When ctx ends,
// it cuts them.
func closeAll(ctx context.Context, conns []*conn, how ending) {
	var wait sync.WaitGroup
	slots := make(chan struct{}, closeAtOnce)
	for _, c := range conns {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			reason := wire.ReasonShutdown
			if how == endMoved {
				reason = wire.ReasonMoved
			}
			c.end(how, wire.CloseRestart, reason)
			select {
			case <-c.gone:
			case <-ctx.Done():
				c.cut()
			}
		})
	}
	wait.Wait()
}

// storagePatience is how long a query may take that a peer waits for.
const storagePatience = 5 * time.Second

// storageContext bounds a query that a peer waits for. Stop does not wait for it.
func (b *Broker) storageContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.life, storagePatience)
}
