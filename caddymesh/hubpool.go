package caddymesh

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/claudemesh/claudemesh/broker"
)

// drainTimeout bounds how long a reload or the exit of the process waits for a
// broker to close its sockets.
const drainTimeout = 5 * time.Second

// hubs holds the broker of each storage in use, by Storage.Identity. The keys
// hold secrets: never show them.
var hubs = caddy.NewUsagePool()

// hub keeps one broker over reloads. Its broker is made by the first App that
// starts it, so that a config which is only validated opens nothing.
type hub struct {
	log      *zap.Logger // follows the logging of the newest config
	core     *liveCore
	measures *measures

	broker  atomic.Pointer[broker.Broker] // nil until started
	storage atomic.Pointer[string]        // what to call it, once started

	mu    sync.Mutex    // held while starting, configuring, stopping
	owner *App          // whose settings are in force
	ended chan struct{} // closed when no config uses the hub anymore
}

// openRetry is the pause between attempts to replace a broker.
const openRetry = 5 * time.Second

// newHub makes a hub that has no broker yet.
func newHub(m *measures) *hub {
	h := &hub{measures: m, core: newLiveCore(), ended: make(chan struct{})}
	h.log = zap.New(h.core)
	return h
}

// start starts the broker, or gives a running one the app's settings. undo takes
// that back, if no other app has started the hub meanwhile: a config that is
// refused for another app's sake must not leave its limits behind.
func (h *hub) start(app *App, storage Storage, settings broker.Settings, log *zap.Logger) (undo func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()

	previousCore := h.core.swap(log.Core())
	b := h.broker.Load()
	if b == nil {
		if b, err = h.open(storage, settings, log.Name()); err != nil {
			return nil, err
		}
		h.broker.Store(b)
		h.owner = app
		go h.renew(b, storage, log.Name())
		return func() {}, nil // unloading the config stops the broker altogether
	}

	previousOwner, previousSettings := h.owner, b.Settings()
	h.owner = app
	b.Configure(settings)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.owner == app {
			h.owner = previousOwner
			h.core.swap(previousCore)
			if b := h.broker.Load(); b != nil { // perhaps another one by now
				b.Configure(previousSettings)
			}
		}
	}, nil
}

// open makes and starts a broker.
func (h *hub) open(storage Storage, settings broker.Settings, name string) (*broker.Broker, error) {
	called := storage.String()
	h.storage.Store(&called)
	store, err := storage.Open()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", storage, err)
	}
	b := broker.New(broker.Options{
		Storage:  store,
		Settings: settings,
		Log:      h.log.Named(name),
		Version:  Version(),
		Observer: h.measures,
	})
	if err := b.Start(context.Background()); err != nil {
		h.stop(b)
		return nil, fmt.Errorf("start with %s: %w", storage, err)
	}
	return b, nil
}

// renew makes a new broker whenever another one has taken the storage, for what the old
// one has in memory is out of date then. It closes its sockets; the new one waits until
// the storage is free. renew ends with the hub.
func (h *hub) renew(b *broker.Broker, storage Storage, name string) {
	for b != nil {
		select {
		case <-b.Lost():
			h.measures.lost.Inc()
			b = h.replace(b, storage, name)
		case <-h.ended:
			return
		}
	}
}

// replace stops a broker and returns the one that has taken its place; nil: the hub has
// ended, or a new config has made one.
func (h *hub) replace(old *broker.Broker, storage Storage, name string) *broker.Broker {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hasEnded() {
		return nil
	}
	h.broker.Store(nil)
	h.stop(old)
	for {
		b, err := h.open(storage, old.Settings(), name)
		if err == nil {
			h.broker.Store(b)
			return b
		}
		h.log.Error("start anew", zap.Error(err))
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

// Destruct stops the broker: its sockets are closed with 1012. The usage pool
// calls it when no config uses the hub anymore.
func (h *hub) Destruct() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.ended)
	if b := h.broker.Load(); b != nil {
		h.stop(b)
	}
	return nil
}

func (h *hub) stop(b *broker.Broker) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := b.Stop(ctx); err != nil {
		h.log.Warn("stopping the broker", zap.Error(err))
	}
}

// liveCore hands log entries to the core of the newest config. A logger made
// from one config's core would fall silent when a reload moves the log.
type liveCore struct {
	current *atomic.Pointer[zapcore.Core]
	fields  []zapcore.Field
}

func newLiveCore() *liveCore {
	c := &liveCore{current: new(atomic.Pointer[zapcore.Core])}
	c.swap(zapcore.NewNopCore())
	return c
}

// swap replaces the core and returns the one before.
func (c *liveCore) swap(core zapcore.Core) zapcore.Core {
	if previous := c.current.Swap(&core); previous != nil {
		return *previous
	}
	return zapcore.NewNopCore()
}

// Enabled reports whether the newest core takes the level.
func (c *liveCore) Enabled(l zapcore.Level) bool { return (*c.current.Load()).Enabled(l) }

// With returns a core that adds fields to each entry.
func (c *liveCore) With(fields []zapcore.Field) zapcore.Core {
	all := append(c.fields[:len(c.fields):len(c.fields)], fields...)
	return &liveCore{c.current, all}
}

// Check lets the newest core decide, and register itself for writing.
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

// Write is reached only by way of another core that skips Check.
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
