package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// NotReady says why the broker can't accept messages now.
type NotReady struct {
	Reason string // a word for everybody, see SPEC.md section 11
	Err    error  // for the operator: it may hold names and addresses
}

func (n *NotReady) Error() string { return n.Err.Error() }

func (n *NotReady) Unwrap() error { return n.Err }

// Health reports that the broker is alive, and whether its storage is up.
func (b *Broker) Health(ctx context.Context) wire.Health {
	db := "up"
	if b.serves(ctx) != nil {
		db = "down"
	}
	return wire.Health{Status: "ok", DB: db, Version: b.version, Uptime: time.Since(b.born).Seconds()}
}

// Ready returns nil if the broker accepts messages and could store them now, else a *NotReady.
// It notices a change within five seconds, and answers within two.
func (b *Broker) Ready(ctx context.Context) error {
	if err := b.serves(ctx); err != nil {
		return err
	}
	if b.router != nil {
		if err := b.router.Problem(); err != nil {
			return &NotReady{"cluster_address", fmt.Errorf("cluster: %w", err)}
		}
	}
	if b.cluster == nil {
		return nil
	}
	if err := b.cluster.Problem(); err != nil {
		return &NotReady{"cluster_clock", fmt.Errorf("cluster: %w", err)}
	}
	if b.cluster.Draining() {
		return &NotReady{"draining", errors.New("draining: this node gives its meshes to other nodes and takes none, until `caddy claudemesh drain --undo`")}
	}
	return nil
}

// serves is Ready without what the cluster says.
func (b *Broker) serves(ctx context.Context) error {
	if b.isLost() {
		return &NotReady{"storage_" + string(storage.ReasonOf(b.loss)), b.loss}
	}
	if b.draining.Load() {
		return &NotReady{"shutting_down", errors.New("shutting down")}
	}
	b.mu.Lock()
	err := b.notOpen
	b.mu.Unlock()
	switch {
	case errors.Is(err, errNotStarted):
		return &NotReady{"starting", err}
	case errors.Is(err, cluster.ErrSameAddress):
		return &NotReady{"cluster_address", fmt.Errorf("cluster: %w", err)}
	}
	if err == nil {
		err = b.journal.Down()
	}
	if err == nil {
		err = b.ping(ctx)
	}
	if err == nil {
		err = b.storage.Claimed()
	}
	if err != nil {
		return &NotReady{"storage_" + string(storage.ReasonOf(err)), fmt.Errorf("storage: %w", err)}
	}
	return nil
}

const (
	// pingEvery is the least time between two pings of the storage. A ping costs a write, and
	// anybody may ask for the broker's health.
	pingEvery = 2 * time.Second
	// pingAgain is the same while pings fail.
	pingAgain = 500 * time.Millisecond
	// pingPatience is how long a ping may take before the storage counts as unreachable.
	pingPatience = 2 * time.Second
	// pingTimeout is how long a ping may take in all: it may have to try several servers
	// before one answers.
	pingTimeout = 4 * time.Second
)

// pinged is the outcome of the last ping.
type pinged struct {
	sync.Mutex
	at     time.Time
	err    error
	asking bool          // a ping is under way
	asked  chan struct{} // closed when its outcome is clear; nil if nobody needs to wait
}

// ping returns the outcome of the last ping, or of the next one if that is too old. A ping
// does not end with ctx: all callers share it.
func (b *Broker) ping(ctx context.Context) error {
	if time.Since(b.journal.Stored()) < pingEvery {
		return nil // a message has just been stored
	}
	p := &b.pinged
	p.Lock()
	fresh := pingEvery
	if p.err != nil {
		fresh = pingAgain
	}
	if time.Since(p.at) < fresh || p.asking && p.asked == nil {
		defer p.Unlock()
		return p.err
	}
	if !p.asking {
		if !b.spawn(b.pingStorage) {
			defer p.Unlock()
			return errNotStarted
		}
		p.asking, p.asked = true, make(chan struct{})
	}
	asked := p.asked
	p.Unlock()
	select {
	case <-asked:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.Lock()
	defer p.Unlock()
	return p.err
}

func (b *Broker) pingStorage() {
	ctx, cancel := context.WithTimeout(b.life, pingTimeout)
	defer cancel()
	silence := time.AfterFunc(pingPatience, func() {
		b.setPinged(fmt.Errorf("no answer within %s: %w", pingPatience, context.DeadlineExceeded), true)
	})
	err := b.storage.Ping(ctx)
	silence.Stop()
	b.setPinged(err, false)
	if storage.IsLost(err) {
		b.lose(err)
	}
}

// setPinged records the outcome of a ping. asking says that the ping itself is still under way.
func (b *Broker) setPinged(err error, asking bool) {
	p := &b.pinged
	p.Lock()
	defer p.Unlock()
	if asking && !p.asking {
		return // the answer was quicker
	}
	if err != nil {
		b.storageFailed("ping", err)
	}
	switch {
	case err != nil && p.err == nil && !b.draining.Load():
		b.log.Error("storage can't store messages", zap.Error(err))
	case err == nil && p.err != nil:
		b.log.Info("storage can store messages again")
	}
	p.at, p.err, p.asking = time.Now(), err, asking
	if p.asked != nil {
		close(p.asked)
		p.asked = nil
	}
}

// Lost is closed when another broker has taken over the storage, or somebody has set it back.
// This broker's memory is then outdated: stop it and make a new one, which waits for the storage.
func (b *Broker) Lost() <-chan struct{} { return b.lost }

// lose gives the storage up because of an error for which storage.IsLost is true.
func (b *Broker) lose(err error) {
	b.losing.Do(func() {
		b.log.Error("this broker has lost the storage; closing all sockets", zap.Error(err))
		b.loss = err
		b.Drain()
		close(b.lost)
	})
}

func (b *Broker) isLost() bool {
	select {
	case <-b.lost:
		return true
	default:
		return false
	}
}
