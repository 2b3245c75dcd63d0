package simulation

import (
	"context"
	"time"
)

// renewLoop renews the lease of a node.
func (s *session) renewLoop() {
	pause := time.Second + time.Duration(s.server.luck("phase", s.seat.id)%1000)*time.Millisecond // nodes don't renew in step
	for {
		select {
		case <-s.died:
			return
		case <-time.After(pause):
		}
		pause = time.Second
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		asked := time.Now()
		var drains, moves bool
		gone, err := read(ctx, s, "renew", func(d *disk) bool {
			n := d.registry.nodes[s.seat.id]
			if n != nil {
				d.registry.renew(n)
				n.ClockOff = s.ClockAhead() != 0
				drains = n.Draining || n.ClockOff
			}
			for _, o := range d.registry.owners {
				moves = moves || o.node == s.seat.id && o.movesTo != 0
			}
			return n == nil
		})
		cancel()
		s.seat.mu.Lock()
		if err == nil && gone {
			s.seat.removed = true
		} else if err == nil {
			s.seat.until, s.seat.drains, s.seat.moves = asked.Add(leaseTime), drains, moves
		}
		s.seat.mu.Unlock()
		s.seat.tell()
	}
}

// silentAfter is how long a node may not renew its lease until others remove it, although the lease
// runs by the database's clock.
const silentAfter = 5 * time.Second

// reapLoop removes nodes whose lease has run out, or that have fallen silent.
func (s *session) reapLoop() {
	type pulse struct {
		renewals int
		since    time.Time
	}
	last := make(map[int64]pulse)
	for {
		select {
		case <-s.died:
			return
		case <-time.After(500 * time.Millisecond):
		}
		if s.Claimed() != nil || s.pass(context.Background(), "reap") != nil {
			continue
		}
		d := s.server.disk
		d.mu.Lock()
		for id, n := range d.registry.nodes {
			if id == s.seat.id {
				continue
			}
			if last[id].renewals != n.renewals {
				last[id] = pulse{n.renewals, time.Now()}
			}
			silent := time.Since(last[id].since) > silentAfter && !s.server.broken.noPulse
			if (silent || !d.registry.lives(n)) && s.fenceNodeLocked(nil) == nil {
				d.registry.robbed[id] = n.renewed.Add(leaseTime)
				d.registry.remove(id)
			}
		}
		d.mu.Unlock()
	}
}

// remove removes a node and frees its meshes.
func (r *registry) remove(id int64) {
	delete(r.nodes, id)
	for m, o := range r.owners {
		if o.node == id {
			delete(r.owners, m)
		}
	}
	r.announce()
}
