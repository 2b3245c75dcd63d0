package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/system"
)

// watched returns the nodes. Those that have fallen silent are not live. Whoever waits for the end of a
// lease calls it again and again.
func (s *Store) watched(ctx context.Context, q querier, query string) ([]cluster.Node, error) {
	nodes, err := nodesOf(ctx, q, query)
	if err == nil {
		s.pulses.note(nodes, system.Uptime())
	}
	for i := range nodes {
		nodes[i].Live = nodes[i].Live && !s.isSilent(nodes[i])
	}
	return nodes, err
}

// isSilent reports whether a node has not renewed its lease for longer than any lease runs. If the lease
// still runs, the database's clock was set back after the node had died. An older program renews its lease
// without counting.
func (s *Store) isSilent(n cluster.Node) bool {
	return n.Schema >= renewalsVersion && s.pulses.age(n, system.Uptime()) > max(s.term(), spareAfter)
}

// pulses remembers for how long nodes have not renewed their leases, by this process's own clock.
type pulses struct {
	mu   sync.Mutex
	last map[int64]pulse
}

// pulse is the number of a node's renewals.
type pulse struct {
	renewals int64
	since    time.Duration // when it was first seen, by system.Uptime
}

// note remembers all nodes, and nothing else.
func (p *pulses) note(nodes []cluster.Node, now time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := make(map[int64]pulse, len(nodes))
	for _, n := range nodes {
		last[n.ID] = pulse{n.Renewals, now}
		if was, ok := p.last[n.ID]; ok && was.renewals == n.Renewals {
			last[n.ID] = was
		}
	}
	p.last = last
}

// age returns for how long a node has been seen with as many renewals as it has.
func (p *pulses) age(n cluster.Node, now time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was, ok := p.last[n.ID]; ok && was.renewals == n.Renewals {
		return now - was.since
	}
	return 0
}
