package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// NotReady says why no message can be accepted now.
type NotReady struct {
	Reason string // a word that anybody may read, see SPEC.md section 11
	Err    error  // the operator's: it may hold names and addresses
}

func (n *NotReady) Error() string { return n.Err.Error() }

func (n *NotReady) Unwrap() error { return n.Err }

// Health tells that the broker is alive, and whether its storage is.
func (b *Broker) Health(ctx context.Context) wire.Health {
	db := "up"
	if b.Ready(ctx) != nil {
		db = "down"
	}
	return wire.Health{Status: "ok", DB: db, Version: b.version, Uptime: time.Since(b.born).Seconds()}
}

// Ready returns nil when messages are accepted and could be stored now, else a
// *NotReady. It is never wrong for longer than five seconds, and answers within two.
func (b *Broker) Ready(ctx context.Context) error {
	if b.isLost() {
		return &NotReady{"storage_" + string(storage.InUse), storage.ErrInUse}
	}
	if b.draining.Load() {
		return &NotReady{"shutting_down", errors.New("shutting down")}
	}
	b.mu.Lock()
	err := b.notOpen
	b.mu.Unlock()
	if errors.Is(err, errNotStarted) {
		return &NotReady{"starting", err}
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
	// pingEvery bounds how often the storage is asked whether it is there: asking costs a
	// write, and anybody may ask for the broker's health.
	pingEvery = 2 * time.Second
	// pingAgain is the same while it is not: what is wrong may be over soon.
	pingAgain = 500 * time.Millisecond
	// pingPatience is after how long without an answer the storage counts as away.
	pingPatience = 2 * time.Second
	// pingTimeout is how long it may go on trying then: the way to a server that answers
	// may lead by others that do not.
	pingTimeout = 4 * time.Second
)

// pinged is what the storage said of itself last.
type pinged struct {
	sync.Mutex
	at     time.Time
	err    error
	asking bool          // it has been asked, and has not answered
	asked  chan struct{} // closed when it is clear what to say; nil: it is
}

// ping returns what is known of the storage, or the next answer when that is old. Who
// asks may go away: the answer is for all who wait for it.
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
	if errors.Is(err, storage.ErrInUse) {
		b.lose()
	}
}

func (b *Broker) setPinged(err error, asking bool) {
	if err != nil {
		b.storageFailed("ping", err)
	}
	p := &b.pinged
	p.Lock()
	defer p.Unlock()
	if asking && !p.asking {
		return // the answer was quicker
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

// Lost is closed when another broker has taken the storage. What this one has in memory
// is out of date then: stop it and make a new one, which waits for the storage.
func (b *Broker) Lost() <-chan struct{} { return b.lost }

func (b *Broker) lose() {
	b.losing.Do(func() {
		b.log.Error("another broker has taken over the storage; closing all sockets")
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
