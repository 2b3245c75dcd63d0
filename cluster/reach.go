package cluster

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	// unreachedFor is for how long nobody may reach a node before it gives its meshes away: a link
	// takes some seconds to come back, so a moment's trouble never does that.
	unreachedFor = 10 * time.Second
	// longestLook is how much of that the time between two looks may be: a process that was frozen
	// sees what has changed only later.
	longestLook = 2 * time.Second
)

// errUnreached reports that no other node reaches a node at its advertised address.
var errUnreached = errors.New("no other node reaches it there")

// errUnproven reports that no other node has reached this one so far. Those that learn of it try at once.
var errUnproven = errors.New("no other node has reached this one at its advertised address yet; it takes no meshes until one has")

// sight is what a node sees of the cluster at one moment.
type sight struct {
	address string // its own
	stands  bool   // its link to itself
	err     error  // why that link does not stand; nil: it stands, or was not tried yet
	reached bool   // another node has a link to this one
	reaches bool   // this node has a link to another one that gets meshes
	others  bool   // another node gets meshes
	older   bool   // such a node started before this one
}

// judge tells whether this node is to have meshes, for which other nodes must reach it at its
// advertised address. The links that they have to it are the proof.
//
// Until there has been one, the node waits while an older node gets meshes. It does not wait for a
// younger one: that one has a proof, or would itself wait. But if the younger one stays, it has a
// proof, and this node steps aside. So one node serves whatever the addresses lead to: the oldest one
// that gets meshes does not wait, and steps aside only for one that has been reached.
//
// A node that other nodes no longer reach steps aside if it reaches another node that gets
// meshes, which then has a link from this node and so stays itself: never do all nodes step aside.
// If the nodes reach neither each other nor themselves, all but the oldest step aside. A node whose
// links to others are cut as well, but not the one to itself, does not: its address may be right.
type judge struct {
	patience time.Duration
	worked   bool          // the address has led to this node at least once
	proven   bool          // another node has reached it there
	last     time.Time     // the last look
	missed   time.Duration // for how long nobody has reached this node; at most patience
}

// verdict returns why this node is not to have meshes, or nil.
func (j *judge) verdict(now time.Time, s sight) error {
	step := min(now.Sub(j.last), longestLook)
	j.last = now
	j.worked = j.worked || s.stands || s.reached
	j.proven = j.proven || s.reached
	switch {
	case s.reached:
		j.missed = 0
	case !j.worked && errors.Is(s.err, errElsewhere):
		j.missed = j.patience // the configuration is wrong, and was from the beginning
	case j.needed(s):
		j.missed += step
		if !j.worked && s.err != nil && j.missed >= connectWithin {
			j.missed = j.patience // whoever could reach the node would have
		}
		j.missed = min(j.missed, j.patience)
	default:
		j.missed = 0
	}
	switch {
	case j.missed >= j.patience:
		return s.problem()
	case !j.proven && s.older:
		return errUnproven
	}
	return nil
}

// needed reports whether other nodes need the address of this one, which nobody reaches now.
func (j *judge) needed(s sight) bool {
	if !j.proven {
		return s.others
	}
	return s.reaches || s.older && s.err != nil
}

// problem says what an operator can do.
func (s sight) problem() error {
	switch {
	case errors.Is(s.err, errElsewhere):
		return s.err
	case s.err != nil:
		return fmt.Errorf("this node advertises %s, and does not reach itself there: %w; "+
			"set its `cluster { advertise <address> }` to an address at which all other nodes reach its cluster port: %w", s.address, s.err, errUnreached)
	}
	return fmt.Errorf("this node advertises %s, but other nodes do not reach it; let its firewall admit them, or "+
		"set its `cluster { advertise <address> }` to an address that leads to it from their machines, unlike 127.0.0.1: %w", s.address, errUnreached)
}

// look returns what this node sees.
func (r *Relay) look(self int64, nodes []Node, l *listener) sight {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s sight
	before := true
	for _, n := range nodes {
		if n.ID == self {
			before = false
		} else if n.Takes() {
			s.others, s.older = true, s.older || before
		}
		link := r.links[n.ID]
		if link == nil {
			continue
		}
		session, err, _ := link.state()
		if n.ID == self {
			s.address, s.stands, s.err = n.Address, session != nil, err
			continue
		}
		s.reached = s.reached || l.linked(n)
		s.reaches = s.reaches || session != nil && n.Takes()
	}
	return s
}

// assess decides whether this node is to have meshes.
func (r *Relay) assess(s sight) {
	problem := r.judge.verdict(time.Now(), s)
	r.mu.Lock()
	was := r.problem
	r.problem = problem
	r.mu.Unlock()
	switch {
	case isKnown(problem) && !isKnown(was):
		r.log.Error("the address of this node does not lead to it; the node gives its meshes to others and takes none", zap.Error(problem))
	case problem == nil && was != nil:
		r.log.Info("the address of this node leads to it, or no other node needs it: the node may take meshes")
	}
	r.directory.Elsewhere(problem != nil)
}

// isKnown reports whether it is certain that a node has a problem.
func isKnown(problem error) bool { return problem != nil && !errors.Is(problem, errUnproven) }

// Problem says why other nodes don't reach this one at its advertised address, or returns nil.
func (r *Relay) Problem() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem
}
