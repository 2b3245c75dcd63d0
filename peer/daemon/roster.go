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
	// rosterPause gathers changes that come together.
	rosterPause = 300 * time.Millisecond
	// rosterAge is when a roster is fetched anew although nothing was heard:
	// statuses change without a word.
	rosterAge = time.Minute
	// rosterTimeout is how long a call waits for a fresh roster.
	rosterTimeout = 3 * time.Second
)

// roster is who is in a mesh, as the broker last said. It is kept by the member's
// own line.
type roster struct {
	kicked chan struct{} // has room for one

	mu        sync.Mutex
	at        time.Time // zero: never
	peers     []wire.PeerRow
	members   []wire.MemberRow
	membersAt time.Time
}

// stale says that the roster has changed.
func (r *roster) stale() { kick(r.kicked) }

// loop fetches the roster after changes until ctx ends.
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
		pause := time.NewTimer(rosterPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// fetch asks the broker who is there; for the members, of whom there may be many and
// of whom nothing is heard, only if it must, or when there is somebody unknown.
func (r *roster) fetch(ctx context.Context, l *line, members bool) error {
	client := l.current()
	if client == nil {
		return peer.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, rosterTimeout)
	defer cancel()
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
		return nil //nolint:nilerr // a broker of others may not offer it
	}
	now := time.Now()
	if err := l.d.contacts.PinMembers(l.d.write(), l.name.mesh, members, now); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.members, r.membersAt = members, now
	return nil
}

// knowsMembersOf reports whether the members are those of the rows, and not too old.
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

// fresh returns the roster as it is now, or, when the broker does not answer, as it
// was last; false when it was never known.
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

// last returns the roster as it was last; false when it was never known.
func (r *roster) last() ([]wire.PeerRow, []wire.MemberRow, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peers, r.members, !r.at.IsZero()
}

// member returns what the broker says of a member; zero when it is not known.
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

// online counts who can be reached: sessions, and members of whom only the daemon
// is there, without the session with that key and its own member's daemon.
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
