package caddymesh

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
)

// drainTimeout limits the time that a reload or the exit of the process waits for a broker
// to hand over its meshes, to close its sockets, and to store what is left.
const drainTimeout = 5 * time.Second

const (
	// handOverTime is the time over which a node that stops hands its meshes over to others, so that
	// not all clients connect again at once.
	handOverTime = 2 * time.Second
	// handOverTimeout limits it, so that some time is left to close the sockets of other meshes.
	handOverTimeout = drainTimeout - time.Second
)

// hubs holds the broker of each storage in use, by use.key. The keys hold secrets: never show
// them.
var hubs = caddy.NewUsagePool()

// hub keeps one broker across reloads. The first App that starts the hub creates the
// broker, so that a config that is only validated opens nothing.
type hub struct {
	log      *zap.Logger // follows the logging of the newest config
	core     *liveCore
	measures *measures

	broker atomic.Pointer[broker.Broker]   // nil until started
	relay  atomic.Pointer[cluster.Relay]   // to the other nodes; nil: none
	opened atomic.Pointer[opened]          // what the broker uses, once started
	loss   atomic.Pointer[broker.NotReady] // why the last broker was replaced, or is being replaced

	mu      sync.Mutex     // held while starting, configuring or stopping the broker
	applied applied        // what is in effect
	ended   chan struct{}  // closed when no config uses the hub anymore
	renewal sync.WaitGroup // for the goroutine that replaces the broker; Destruct waits for it
}

// applied is what a config wants of a hub.
type applied struct {
	app      *App // nil: no config has started the hub
	settings broker.Settings
	tracing  trace.TracerProvider // nil: none
	core     zapcore.Core         // of the config's log
}

// opened is a storage as a config describes it, and as it was opened.
type opened struct {
	as    Storage
	store broker.Storage
}

// openRetry is the pause between attempts to replace a broker.
const openRetry = 5 * time.Second

// newHub returns a hub without a broker.
func newHub(m *measures) *hub {
	h := &hub{measures: m, core: newLiveCore(), applied: applied{core: zapcore.NewNopCore()}, ended: make(chan struct{})}
	h.log = zap.New(limitLogs(h.core))
	return h
}

// start starts the broker, or applies the app's settings to a running broker. undo reverts
// this, unless another app has started the hub meanwhile: a config that Caddy rejects
// because of another app must not leave its limits behind.
func (h *hub) start(app *App, u *use, log *zap.Logger) (undo func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	previous := h.applied
	h.applyLocked(applied{app, u.settings, u.tracing, log.Core()})
	if h.broker.Load() == nil { // it has never run, or is being replaced
		b, err := h.openLocked(u, u.settings, log.Name())
		if err != nil {
			h.applyLocked(previous)
			return nil, err
		}
		h.broker.Store(b)
		h.renewal.Go(func() { h.renew(b, u, log.Name()) })
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		// Without a previous app, unloading the config stops the broker.
		if h.applied.app == app && previous.app != nil {
			h.applyLocked(previous)
		}
	}, nil
}

// applyLocked puts into effect what a config wants.
func (h *hub) applyLocked(a applied) {
	h.applied = a
	h.core.swap(a.core)
	if b := h.broker.Load(); b != nil {
		b.Configure(a.settings)
		h.traceLocked(b)
	}
}

// traceLocked makes a broker trace messages, if the config has it.
func (h *hub) traceLocked(b *broker.Broker) {
	if h.applied.tracing != nil {
		b.Trace(h.applied.tracing)
	}
}

// openLocked creates and starts a broker.
func (h *hub) openLocked(u *use, settings broker.Settings, name string) (*broker.Broker, error) {
	store, err := u.storage.Open()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", u.storage, err)
	}
	h.opened.Store(&opened{u.storage, store})
	options := broker.Options{
		Storage:  store,
		Settings: settings,
		Log:      h.log.Named(name),
		Version:  Version(),
		Observer: h.measures,
	}
	node, err := u.cluster.join(store, &options)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	b := broker.New(options)
	h.traceLocked(b)
	if err = b.Start(context.Background()); err == nil {
		err = node.serve(b, h)
	}
	h.relay.Store(node.relay)
	if err != nil {
		h.stop(b)
		return nil, fmt.Errorf("start with %s: %w", u.storage, err)
	}
	return b, nil
}

// renew replaces the broker whenever another process takes over the storage, because the
// old broker's memory is out of date then. The old broker closes its sockets; the new one
// waits until the storage is free. renew returns when the hub ends.
func (h *hub) renew(b *broker.Broker, u *use, name string) {
	for b != nil {
		select {
		case <-b.Lost():
			h.measures.lost.Inc()
			b = h.replace(b, u, name)
		case <-h.ended:
			return
		}
	}
}

// replace stops a broker and returns its replacement. It returns nil if the hub has ended
// or if a new config has already created a broker.
func (h *hub) replace(old *broker.Broker, u *use, name string) *broker.Broker {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hasEnded() {
		return nil
	}
	var loss *broker.NotReady
	if errors.As(old.Ready(context.Background()), &loss) {
		h.loss.Store(loss)
	}
	h.broker.Store(nil)
	h.stop(old)
	for {
		b, err := h.openLocked(u, h.applied.settings, name)
		if err == nil {
			h.broker.Store(b)
			return b
		}
		h.log.Error("could not replace the broker; retrying", zap.Error(err))
		h.mu.Unlock()
		select {
		case <-time.After(openRetry):
		case <-h.ended:
		}
		h.mu.Lock()
		if h.hasEnded() || h.broker.Load() != nil {
			return nil
		}
	}
}

// absence says why the hub has no broker.
func (h *hub) absence() *broker.NotReady {
	if loss := h.loss.Load(); loss != nil {
		return &broker.NotReady{Reason: loss.Reason, Err: fmt.Errorf("the broker is being replaced: %w", loss.Err)}
	}
	return &broker.NotReady{Reason: "starting", Err: errors.New("the broker is starting")}
}

func (h *hub) hasEnded() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}

// drain makes the broker refuse new sockets.
func (h *hub) drain() {
	if b := h.broker.Load(); b != nil {
		b.Drain()
	}
}

// Destruct stops the broker, which closes its sockets with 1012. The usage pool calls it
// when no config uses the hub anymore.
func (h *hub) Destruct() error {
	h.mu.Lock()
	close(h.ended)
	if b := h.broker.Load(); b != nil {
		h.stop(b)
	}
	h.mu.Unlock() // renew may wait for it
	h.renewal.Wait()
	return nil
}

// stop stops a broker. The sockets that it relays to other nodes close meanwhile, and those that
// others relay to it close with its own.
func (h *hub) stop(b *broker.Broker) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	relay := h.relay.Swap(nil)
	var left sync.WaitGroup
	if relay != nil {
		polite, cancel := context.WithTimeout(ctx, drainTimeout/2)
		defer cancel()
		left.Go(func() { relay.Leave(polite) })
		if len(relay.Others()) > 0 {
			h.handOver(ctx, b)
		}
	}
	if err := b.Stop(ctx); err != nil {
		h.log.Warn("the broker did not stop cleanly", zap.Error(err))
	}
	left.Wait()
	if relay != nil {
		relay.Close()
	}
}

// handOver hands a broker's meshes over to the other nodes.
func (h *hub) handOver(ctx context.Context, b *broker.Broker) {
	ctx, cancel := context.WithTimeout(ctx, handOverTimeout)
	defer cancel()
	if err := b.HandOverAll(ctx, handOverTime); err != nil {
		h.log.Warn("could not hand the meshes over to the other nodes; they take them when this one has stopped", zap.Error(err))
	}
}

// liveCore passes log entries to the core of the newest config. A logger with the core of
// one config would stop logging when a reload changes the log.
type liveCore struct {
	current *atomic.Pointer[zapcore.Core]
	fields  []zapcore.Field
}

func newLiveCore() *liveCore {
	c := &liveCore{current: new(atomic.Pointer[zapcore.Core])}
	c.swap(zapcore.NewNopCore())
	return c
}

// swap replaces the core.
func (c *liveCore) swap(core zapcore.Core) { c.current.Store(&core) }

// Enabled reports whether the newest core logs the level.
func (c *liveCore) Enabled(l zapcore.Level) bool { return (*c.current.Load()).Enabled(l) }

// With returns a core that adds fields to each entry.
func (c *liveCore) With(fields []zapcore.Field) zapcore.Core {
	all := append(c.fields[:len(c.fields):len(c.fields)], fields...)
	return &liveCore{c.current, all}
}

// Check calls Check of the newest core, which registers itself for writing.
func (c *liveCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	core := *c.current.Load()
	if !core.Enabled(e.Level) {
		return ce
	}
	if len(c.fields) > 0 {
		core = core.With(c.fields)
	}
	return core.Check(e, ce)
}

// Write is called only by a core that skips Check.
func (c *liveCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	return (*c.current.Load()).With(c.fields).Write(e, fields)
}

// Sync flushes the newest core.
func (c *liveCore) Sync() error { return (*c.current.Load()).Sync() }

// Interface guards
var (
	_ caddy.Destructor = (*hub)(nil)
	_ zapcore.Core     = (*liveCore)(nil)
)
