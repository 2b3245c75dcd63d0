package wake

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
)

var (
	// ErrOver means that the daemon has a better listener for this session.
	ErrOver = errors.New("another listener tells this session of messages")
	// errPatience means that there was no daemon, or no session, for too long.
	errPatience = errors.New("no daemon or no session for too long")
)

const (
	firstDelay  = 250 * time.Millisecond // pause before the first retry; it doubles with each retry
	maxDelay    = 5 * time.Second        // the longest pause
	silence     = 75 * time.Second       // after which a daemon counts as dead; it sends something every 30 s
	reviveEvery = time.Minute            // minimum time between two attempts to start the daemon
)

// Listener receives the pointers for the session of one claude process.
type Listener struct {
	Dir  peer.Dir
	PID  int // of claude
	Path local.Path
	// Revive starts the daemon again after a crash. It may be nil.
	Revive func(context.Context) error
	// Patience is how long Listen retries without success. 0 means forever.
	Patience time.Duration
	// Logf logs why a stream ended. It may be nil.
	Logf func(format string, args ...any)

	revived time.Time // when Revive was last called
}

// Listen calls each with every pointer. It returns if each fails, if ctx ends, or with ErrOver
// or errPatience. Call it only once per Listener.
func (l *Listener) Listen(ctx context.Context, each func(pointer string) error) error {
	delay, lost := firstDelay, time.Now()
	for {
		heard, err := l.stream(ctx, each)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, new(eachError)) || errors.Is(err, ErrOver):
			return err
		}
		if l.Logf != nil {
			l.Logf("the stream ended: %v", err)
		}
		now := time.Now()
		if heard {
			delay, lost = firstDelay, now
		}
		if l.Patience > 0 && now.Sub(lost) >= l.Patience {
			return fmt.Errorf("%w: %w", errPatience, err)
		}
		l.revive(ctx, err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(delay):
		}
		delay = min(2*delay, maxDelay)
	}
}

// eachError is an error of the function each. It ends Listen.
type eachError struct{ error }

func (e eachError) Unwrap() error { return e.error }

// stream opens the stream once and reports whether anything arrived.
func (l *Listener) stream(ctx context.Context, each func(string) error) (heard bool, err error) {
	// Read the token each time: daemon and token may have changed.
	session, err := local.Session(l.Dir, l.PID)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	err = session.Wake(ctx, local.Wake{Path: l.Path, PID: l.PID}, func(w local.Woken) error {
		heard = true
		watchdog.Reset(silence)
		if w.Pointer != "" {
			if err := each(w.Pointer); err != nil {
				return eachError{err}
			}
		}
		if w.Over {
			return ErrOver
		}
		return nil
	})
	return heard, err
}

// revive starts the daemon if it has crashed. A daemon that was stopped has removed its file;
// a daemon that has crashed has left the file behind and doesn't answer.
func (l *Listener) revive(ctx context.Context, err error) {
	if l.Revive == nil || !errors.Is(err, local.ErrNotRunning) {
		return
	}
	if _, err := local.ReadInfo(l.Dir); err != nil {
		return
	}
	if now := time.Now(); now.Sub(l.revived) >= reviveEvery {
		l.revived = now
		if err := l.Revive(ctx); err != nil && l.Logf != nil {
			l.Logf("start the daemon: %v", err)
		}
	}
}
