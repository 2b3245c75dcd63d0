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
	// ErrOver is returned when the daemon has somebody better for this session.
	ErrOver = errors.New("another path tells this session of messages")
	// ErrPatience is returned when there was no daemon, or no session, for too long.
	ErrPatience = errors.New("no daemon or no session for too long")
)

const (
	firstDelay  = 250 * time.Millisecond // before the stream is tried again, doubled each time …
	maxDelay    = 5 * time.Second        // … up to this
	silence     = 75 * time.Second       // after which a daemon is taken for dead: it says something every 30 s
	reviveEvery = time.Minute            // at most, when that did not help
)

// Listener listens for the session of one claude process.
type Listener struct {
	Dir  peer.Dir
	PID  int // of claude
	Path local.Path
	// Revive starts the daemon again after it has crashed; nil: that is left to others.
	Revive func(context.Context) error
	// Patience is how long it is tried without success; 0: for ever.
	Patience time.Duration
	// Logf is told why the stream ended; nil: nobody is.
	Logf func(format string, args ...any)

	revived time.Time // when Revive was last called
}

// Listen calls each with every pointer until each fails, ctx ends, or there is no
// use in going on: ErrOver, ErrPatience. A Listener listens once.
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
			return fmt.Errorf("%w: %w", ErrPatience, err)
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

// eachError is a failure of the caller's, which ends it all.
type eachError struct{ error }

func (e eachError) Unwrap() error { return e.error }

// stream opens the stream once and reports whether anything came.
func (l *Listener) stream(ctx context.Context, each func(string) error) (heard bool, err error) {
	// Read anew each time: the daemon and the token may be other ones by now.
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

// revive starts the daemon if it has crashed: one that was stopped has taken its
// file away, for one that has not the client says that nobody answers there.
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
