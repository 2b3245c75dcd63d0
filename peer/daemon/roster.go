package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// rosterPause is how long to wait after a change, so that one fetch serves changes that
	// come together.
	rosterPause = 300 * time.Millisecond
	// rosterAge is when to fetch a roster again without notice of a change: brokers don't
	// announce status changes.
	rosterAge = time.Minute
	// rosterTimeout is how long a call waits for a fresh roster.
	rosterTimeout = 3 * time.Second
)

// roster is the list of a mesh's peers that the broker last returned. The member's own line
// maintains it.
type roster struct {
	kicked   chan struct{} // capacity 1
	fetching chan struct{} // capacity 1: full while somebody fetches, so that answers are kept in order

	mu        sync.Mutex
	at        time.Time // when fetched; zero if never
	peers     []wire.PeerRow
	members   []wire.MemberRow
	membersAt time.Time
}

func newRoster() roster {
	return roster{kicked: make(chan struct{}, 1), fetching: make(chan struct{}, 1)}
}

// stale notes that the roster has changed.
func (r *roster) stale() { kick(r.kicked) }

// loop fetches the roster after each change until ctx ends.
func (r *roster) loop(ctx context.Context, l *line) {
	for {
		old := time.NewTimer(rosterAge)
		select {
		case <-r.kicked:
		case <-old.C:
		case <-ctx.Done():
		}
		old.Stop()
		if ctx.Err() != nil {
			return
		}
		if err := r.fetch(ctx, l, false); err != nil && ctx.Err() == nil {
			l.log.Debug("fetch roster", "error", err)
		}
		pause(ctx, rosterPause)
	}
}

// fetch asks the broker for the peers. It fetches the members only if members is true or the
// peers include an unknown member: there may be many members, and brokers don't announce
// changes of them.
func (r *roster) fetch(ctx context.Context, l *line, members bool) error {
	client := l.current()
	if client == nil {
		return peer.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, rosterTimeout)
	defer cancel()
	select {
	case r.fetching <- struct{}{}:
		defer func() { <-r.fetching }()
	case <-ctx.Done():
		return ctx.Err()
	}
	peers, err := client.ListPeers(ctx)
	if err != nil {
		return err
	}
	if members || !r.knowsMembersOf(peers) {
		if err := r.fetchMembers(ctx, l, client); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.peers = time.Now(), peers
	return nil
}

func (r *roster) fetchMembers(ctx context.Context, l *line, client *peer.Client) error {
	members, err := client.ListMembers(ctx)
	if err != nil {
		return nil //nolint:nilerr // other brokers may not offer it
	}
	now := time.Now()
	if err := l.d.contacts.PinMembers(l.d.writeContext(), l.name.mesh, members, now); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members, r.membersAt = members, now
	return nil
}

// knowsMembersOf reports whether the known members include those of the rows and are recent
// enough.
func (r *roster) knowsMembersOf(rows []wire.PeerRow) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.membersAt) > rosterAge {
		return false
	}
	known := make(map[wire.Key]bool, len(r.members))
	for i := range r.members {
		known[r.members[i].Pubkey] = true
	}
	return !slices.ContainsFunc(rows, func(row wire.PeerRow) bool { return !known[row.MemberPubkey] })
}

// fresh returns the current roster, or the last known one if the broker does not answer. The
// result is false if no roster was ever fetched.
func (j *joined) fresh(ctx context.Context) ([]wire.PeerRow, []wire.MemberRow, bool) {
	r := &j.roster
	r.mu.Lock()
	known := !r.at.IsZero()
	r.mu.Unlock()
	if j.control.isConnected() || !known {
		if err := r.fetch(ctx, j.control, true); err != nil {
			j.control.log.Debug("fetch roster", "error", err)
		}
	}
	return r.last()
}

// last returns the last known roster. The result is false if no roster was ever fetched.
func (r *roster) last() ([]wire.PeerRow, []wire.MemberRow, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers, r.members, !r.at.IsZero()
}

// member returns what the broker reported about a member, or the zero row if it is unknown.
func (r *roster) member(key wire.Key) wire.MemberRow {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.members {
		if r.members[i].Pubkey == key {
			return r.members[i]
		}
	}
	return wire.MemberRow{}
}

// online counts the reachable peers: sessions, and members with only a daemon connected. It
// leaves out the session with key self and the daemon of its own member.
func (r *roster) online(self, member wire.Key) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, inSession := 0, make(map[wire.Key]bool)
	for i := range r.peers {
		if p := &r.peers[i]; p.Online && p.PeerRole == wire.RoleSession {
			inSession[p.MemberPubkey] = true
			if p.Pubkey != self {
				n++
			}
		}
	}
	for i := range r.peers {
		p := &r.peers[i]
		if p.Online && p.PeerRole != wire.RoleSession && p.MemberPubkey != member && !inSession[p.MemberPubkey] {
			inSession[p.MemberPubkey] = true
			n++
		}
	}
	return n
}
