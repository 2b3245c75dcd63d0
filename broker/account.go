package broker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	// patience is how long a frame waits for its member's budget before it is refused,
	// and how long a connection is not read after that. v1 clients wait for an answer
	// for three seconds at least.
	patience = time.Second
	// unreadLimit is how many bytes of answers may wait for a member to read them. More
	// requests are refused then.
	unreadLimit = 32 << 20
)

// account records what a member has lately cost the broker and other members, over all its
// connections in a mesh. Each frame draws its price, see prices, from the member's budget. A
// member whose budget is used up waits, and nobody else does.
type account struct {
	mu        sync.Mutex
	work      *rate.Limiter // the budget, in units of work
	newcomers *rate.Limiter // new presences that have to be stored

	unread atomic.Int64 // bytes of answers that wait to be written
	turn   sync.Mutex   // held while serving a request whose price grows with the mesh
	conns  int          // guarded by accounts.mu
}

// overdrawn refuses a frame because its member has reached a limit.
type overdrawn struct {
	what string        // which limit was exceeded
	wait time.Duration // until a retry may succeed
}

func (o *overdrawn) Error() string {
	return fmt.Sprintf("%s; try again in %s", o.what, max(time.Second, o.wait.Round(time.Second)))
}

// draw takes a price from the budget and returns how long to wait until it is paid for. If
// that would be longer than most, draw takes nothing and returns an *overdrawn. A price above
// the size of the budget needs a full budget and leaves a debt.
func (a *account) draw(price int, most time.Duration, s Settings, now time.Time) (time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	tune(a.work, float64(s.WorkPerMin)/60, s.WorkBurst, now)
	first := min(price, s.WorkBurst)
	r := a.work.ReserveN(now, first)
	wait := r.DelayFrom(now)
	if wait > most {
		r.CancelAt(now)
		return 0, &overdrawn{fmt.Sprintf(
			"your member's connections have used more than %d units of work a minute (work_per_min)", s.WorkPerMin), wait}
	}
	for debt := price - first; debt > 0; debt -= s.WorkBurst {
		a.work.ReserveN(now, min(debt, s.WorkBurst))
	}
	return wait, nil
}

// admitNewcomer counts a new presence that has to be stored, or returns an *overdrawn.
func (a *account) admitNewcomer(s Settings, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	tune(a.newcomers, float64(s.NewSessionsPerHour)/3600, s.NewSessionsPerHour, now)
	r := a.newcomers.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return &overdrawn{fmt.Sprintf("your member has started %d new sessions within an hour (new_sessions_per_hour)", s.NewSessionsPerHour), wait}
}

// idle reports whether the account equals a new one.
func (a *account) idle(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return full(a.work, now) && full(a.newcomers, now)
}

// accounts holds the accounts of members that are, or lately were, connected.
type accounts struct {
	mu       sync.Mutex
	byMember map[memberRef]*account
}

// memberRef is a member of a mesh.
type memberRef struct{ mesh, member wire.ID }

// open returns a member's account for a connection, which must close it.
func (as *accounts) open(ref memberRef, s Settings) *account {
	as.mu.Lock()
	defer as.mu.Unlock()
	a := as.byMember[ref]
	if a == nil {
		a = &account{
			work:      rate.NewLimiter(rate.Limit(float64(s.WorkPerMin)/60), s.WorkBurst),
			newcomers: rate.NewLimiter(rate.Limit(float64(s.NewSessionsPerHour)/3600), s.NewSessionsPerHour),
		}
		as.byMember[ref] = a
	}
	a.conns++
	return a
}

func (as *accounts) close(a *account) {
	as.mu.Lock()
	defer as.mu.Unlock()
	a.conns--
}

// forget drops the accounts of members that are not connected and owe nothing.
func (as *accounts) forget(now time.Time) {
	as.mu.Lock()
	defer as.mu.Unlock()
	for ref, a := range as.byMember {
		if a.conns == 0 && a.idle(now) {
			delete(as.byMember, ref)
		}
	}
}

// payForRequest is pay for a request whose answer may be large.
func (c *conn) payForRequest(price int) error {
	if unread := c.account.unread.Load(); unread > unreadLimit {
		return &overdrawn{fmt.Sprintf("%d bytes of answers wait for your member's connections to read them; the limit is %d",
			unread, int64(unreadLimit)), patience}
	}
	return c.pay(price)
}

// pay draws a price from the budget of c's member and waits until it is paid for. It
// returns an *overdrawn when that would take too long.
func (c *conn) pay(price int) error {
	wait, err := c.account.draw(price, patience, c.broker.Settings(), time.Now())
	if err == nil {
		c.pause(wait)
	}
	return err
}

// fine draws the price of something that was already served or refused. If the budget does
// not suffice, c is not read for a while.
func (c *conn) fine(price int) {
	if wait, err := c.account.draw(price, patience, c.broker.Settings(), time.Now()); err == nil {
		c.pause(wait)
	} else {
		c.pause(patience)
	}
}

// strangerPause is how long a connection without a hello, and so without a budget, is not
// read after an invalid frame.
const strangerPause = 100 * time.Millisecond

func (c *conn) pauseStranger() {
	if c.room == nil {
		c.pause(strangerPause)
	}
}

// pause keeps c from being read for a while.
func (c *conn) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.dead.Done():
	}
}
