package daemon

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	configEvery = 2 // ticks of the watch loop
	touchEvery  = 10
	pruneEvery  = time.Hour

	// correctAfter is how long a process may publish a different session than its hooks
	// reported. It does not publish a change immediately.
	correctAfter = 10 * time.Second
)

// watchLoop checks regularly for changes that no program reports.
func (d *daemon) watchLoop() {
	tick := time.NewTicker(d.o.every)
	defer tick.Stop()
	var pruned time.Time
	for n := 1; ; n++ {
		select {
		case <-d.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		d.lookForSleep()
		d.watchProcesses()
		d.watchStatus(now)
		if _, err := d.judgeTakes("", byTheClock); err != nil {
			d.log.Error("find out whether messages reached the context", "error", err)
		}
		if n%configEvery == 0 {
			if err := d.holdLock(now); errors.Is(err, errDirLost) {
				kick(d.lost)
				continue
			} else if err != nil {
				d.log.Warn("keep the lock", "error", err)
			}
			d.heal()
			d.changes.Lock()
			if d.ctx.Err() == nil {
				d.reloadConfigLocked()
				d.retryHandOversLocked()
			}
			d.changes.Unlock()
		}
		if n%touchEvery == 0 {
			d.writeTouched()
		}
		if now.Sub(pruned) > pruneEvery {
			pruned = now
			d.prune(now)
		}
	}
}

// watchProcesses removes processes that have died.
func (d *daemon) watchProcesses() {
	var over []process.ID
	for _, p := range d.running() {
		if d.over(&p) {
			over = append(over, p.ID)
		}
	}
	if len(over) == 0 {
		return
	}
	d.changes.Lock()
	defer d.changes.Unlock()
	for _, id := range over {
		p := d.process(id.Number)
		if p == nil || p.ID != id || !d.over(p) {
			continue // it has changed in the meantime
		}
		if err := d.departLocked(p); err != nil {
			d.log.Error("forget process", "process", id, "error", err)
		}
	}
}

// watchStatus applies what the programs publish.
func (d *daemon) watchStatus(now time.Time) {
	published := make(map[*session]map[process.Number]Published)
	if d.o.Host != nil {
		for _, p := range d.running() {
			word, ok := d.o.Host.Published(p.session.snapshot().ConfigDir, p.PID)
			if !ok || word.ProcStart != "" && p.Start != "" && word.ProcStart != p.Start || !p.In(word.Namespace) {
				continue
			}
			if word.SessionID != p.session.id {
				d.correct(p, word.SessionID, now)
				continue
			}
			if published[p.session] == nil {
				published[p.session] = make(map[process.Number]Published)
			}
			published[p.session][p.Number] = word
		}
	}
	for _, s := range d.all() {
		s.mu.Lock()
		changed := s.state.published(published[s], now)
		changed = s.state.tired(now) || changed
		for _, word := range published[s] {
			s.reach.seen(word.Status, now)
		}
		s.mu.Unlock()
		s.lookAtReach()
		switch {
		case changed:
			s.tellStatus()
		case len(published[s]) > 0:
			s.tellDesk()
		}
	}
}

// correct makes a process run the session that it publishes, once its hooks have had time to
// report it: a hook came late or not at all.
func (d *daemon) correct(p proc, session string, now time.Time) {
	if now.Sub(p.since) < d.o.correctAfter {
		return
	}
	if _, err := identity.ParseSessionID(session); err != nil {
		return
	}
	d.log.Info("a process runs a different session than its hooks reported", "process", p.ID, "told", p.session.id, "session", session)
	r := local.Register{PID: p.PID, Domain: p.Domain, ProcStart: p.Start, SessionID: session, Source: local.SourceResume, ConfigDir: p.session.snapshot().ConfigDir}
	if _, err := d.register(&r); err != nil {
		d.log.Error("correct the session of a process", "process", p.ID, "error", err)
	}
}

// running returns copies of the registered processes.
func (d *daemon) running() []proc {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]proc, 0, len(d.procs))
	for _, p := range d.procs {
		list = append(list, *p)
	}
	return list
}

// writeTouched writes the last activity of sessions to disk.
func (d *daemon) writeTouched() {
	d.mu.Lock()
	touched := d.touched
	d.touched = make(map[string]time.Time)
	d.mu.Unlock()
	if len(touched) == 0 {
		return
	}
	if err := d.store.Touch(d.writeContext(), touched); err != nil {
		d.log.Error("store activity", "error", err)
	}
}

// prune deletes old rows. It does nothing if it can't read the file of joined meshes, because messages
// for these meshes still wait.
func (d *daemon) prune(now time.Time) {
	d.changes.Lock()
	unreadable := d.config.err != ""
	d.changes.Unlock()
	if unreadable {
		return
	}
	if err := d.store.Prune(d.writeContext(), slices.Collect(maps.Keys(d.joinedMeshes())), now); err != nil {
		d.log.Error("prune", "error", err)
	}
	if _, err := d.inbox.Prune(d.writeContext(), now); err != nil {
		d.log.Error("prune", "error", err)
	}
}
