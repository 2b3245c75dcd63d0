package caddymesh

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App starts the brokers that a config uses. It has no configuration; Caddy creates it
// when the config contains a claudemesh handler.
//
// It exists because a handler can't reject a config after provisioning, while an error
// from an app's Start rolls back the whole config. For example, a database with the
// schema of a newer broker rejects the config.
type App struct {
	ctx      caddy.Context
	log      *zap.Logger
	measures *measures // nil before Provision

	mu   sync.Mutex      // metrics are collected while handlers are still provisioned
	uses map[string]*use // by Storage.Identity
	undo []func()
}

// use is a hub as one config uses it.
type use struct {
	hub      *hub
	storage  Storage
	cluster  *Cluster // nil: none
	settings broker.Settings
	tracing  trace.TracerProvider // nil: none; known when the app starts
}

// key is what the usage pool knows the hub by. A broker with other options of cluster is another
// node, and needs another hub.
func (u *use) key() string { return u.storage.Identity() + u.cluster.identity() }

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "claudemesh",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision subscribes to Caddy's events and registers the metrics.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.log = ctx, ctx.Logger()
	a.uses = make(map[string]*use)

	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	events, ok := app.(*caddyevents.App)
	if !ok {
		return fmt.Errorf("events app is a %T", app)
	}
	for name, do := range map[string]func(){"started": a.commit, "stopping": a.drainOnExit} {
		if err := events.On(name, eventHandler(do)); err != nil {
			return fmt.Errorf("subscribe to the %s event: %w", name, err)
		}
	}
	if a.measures, err = useMeasures(); err != nil {
		return err
	}
	registerMetrics(ctx.GetMetricsRegistry(), a, a.log)
	return nil
}

// use returns the hub of a storage for a handler of this config. All handlers with the
// same storage must have the same settings.
func (a *App) use(storage Storage, cluster *Cluster, settings broker.Settings) (*hub, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := storage.Identity()
	if u, ok := a.uses[key]; ok {
		if u.cluster.identity() != cluster.identity() {
			return nil, fmt.Errorf("two claudemesh handlers use the %s with different options of cluster; handlers with the same storage share one broker and must agree", storage)
		}
		if err := disagreement(u.settings, settings); err != nil {
			return nil, fmt.Errorf("two claudemesh handlers use the %s with different settings: %w; handlers with the same storage share one broker and must agree", storage, err)
		}
		return u.hub, nil
	}
	u := &use{storage: storage, cluster: cluster, settings: settings}
	value, _, err := hubs.LoadOrNew(u.key(), func() (caddy.Destructor, error) { return newHub(a.measures), nil })
	if err != nil {
		return nil, err
	}
	u.hub = value.(*hub)
	a.uses[key] = u
	return u.hub, nil
}

// Start starts the brokers that aren't running yet and applies this config's settings. If
// a storage is unusable, Start returns an error, which rejects the config. If a storage is
// only unreachable, the broker waits for it in the background.
func (a *App) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	tracing := a.tracing()
	for _, u := range a.uses {
		u.tracing = tracing[u.hub]
		undo, err := u.hub.start(a, u, a.log)
		if err != nil {
			a.rollback()
			return err
		}
		a.undo = append(a.undo, undo)
		a.log.Info("broker is running",
			zap.Stringer("storage", u.storage),
			zap.String("version", Version()))
	}
	return nil
}

// commit makes the settings final. Caddy emits "started" when all apps of a config have
// started, before it stops the apps of the previous config.
func (a *App) commit() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.undo = nil
}

// Stop reverts this config's settings if Caddy gives up the config before all of its apps
// have started.
func (a *App) Stop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rollback()
	return nil
}

func (a *App) rollback() {
	for _, undo := range a.undo {
		undo()
	}
	a.undo = nil
}

// Cleanup releases the hubs, which stops the brokers that no other config uses.
func (a *App) Cleanup() error {
	a.mu.Lock()
	uses := a.uses
	a.uses = nil
	a.mu.Unlock()

	var errs []error
	for _, u := range uses {
		if _, err := hubs.Delete(u.key()); err != nil {
			errs = append(errs, err)
		}
	}
	if a.measures != nil { // the hubs that used them are gone, or another config's
		errs = append(errs, releaseMeasures())
	}
	return errors.Join(errs...)
}

// drainOnExit makes the brokers refuse new sockets when the process is about to exit, so
// that clients connect elsewhere at once. It handles the event "stopping", which Caddy
// emits before listeners close, and also on every reload.
func (a *App) drainOnExit() {
	if !caddy.Exiting() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.uses {
		u.hub.drain()
	}
}

// eventHandler is a function that handles a Caddy event.
type eventHandler func()

// Handle calls the function.
func (f eventHandler) Handle(context.Context, caddy.Event) error {
	f()
	return nil
}

// Interface guards
var (
	_ caddy.App           = (*App)(nil)
	_ caddy.Provisioner   = (*App)(nil)
	_ caddy.CleanerUpper  = (*App)(nil)
	_ caddyevents.Handler = eventHandler(nil)
)
