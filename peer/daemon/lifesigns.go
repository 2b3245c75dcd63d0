package daemon

import (
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
)

const (
	// silenceLimit is how long after its last hook a process that the daemon can't observe
	// counts as alive.
	silenceLimit = 10 * time.Minute
	// returnLimit is how long it counts as alive after its last stream ended or the daemon
	// started. A living process opens a new stream within seconds.
	returnLimit = 30 * time.Second
)

// signs are the signs of life of a process in another pid namespace, which the daemon can't
// observe. An example is a process in a container that shares the home directory. Such a
// process counts as ended when it reports its end or shows no sign for too long.
type signs struct {
	streams int       // open streams of processes below it
	until   time.Time // when it counts as ended if it has no stream
}

func (s *signs) hooked(now time.Time, limit time.Duration) { s.until = now.Add(limit) }

func (s *signs) attached()                                   { s.streams++ }
func (s *signs) detached(now time.Time, limit time.Duration) { s.streams--; s.until = now.Add(limit) }

func (s *signs) over(now time.Time) bool { return s.streams == 0 && !now.Before(s.until) }

// number returns the process number that a caller means.
func number(domain string, pid int) process.Number {
	if domain == "" {
		return process.Here(pid)
	}
	return process.Number{Domain: domain, PID: pid}
}

// identify returns the process that a caller means.
func identify(n process.Number, start string) (process.ID, error) {
	const limit = 256 // bytes; a real domain has about 60
	if len(n.Domain) > limit || len(start) > limit || n.PID <= 0 {
		return process.ID{}, invalid("the process number is not valid")
	}
	if !n.Seen() {
		return process.ID{Number: n, Start: start}, nil
	}
	who, err := process.Of(n.PID)
	if err != nil {
		return who, invalid("pid: %v", err)
	}
	if start != "" && start != who.Start {
		return who, invalid("pid %d now belongs to another process", n.PID)
	}
	return who, nil
}

// over reports whether a process has ended, as far as the daemon can tell.
func (d *daemon) over(p *proc) bool {
	if p.Seen() {
		return !p.Alive()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return p.signs.over(time.Now())
}

// heard records a hook of a process.
func (d *daemon) heard(n process.Number, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.procs[n]; p != nil {
		p.signs.hooked(now, d.o.silenceLimit)
	}
}

// streams counts one more stream of a process until the caller calls end.
func (d *daemon) streams(p *proc) (end func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p.signs.attached()
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		p.signs.detached(time.Now(), d.o.returnLimit)
	}
}
