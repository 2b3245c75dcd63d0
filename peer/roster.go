package peer

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/claudemesh/claudemesh/wire"
)

// roster is the broker's latest report of the peers. Clients that keep it ask only for
// what has changed since.
type roster struct {
	asking  chan struct{} // has one slot: the goroutine that fills it owns the other fields
	version string        // "": nothing is known, or the broker tells no versions
	rows    map[wire.ID]wire.PeerRow
}

// ListPeers returns the roster: a row for every presence that this client may see, ordered
// by ConnectedAt. With Options.OnRoster it asks the broker only for the changes. The
// caller must not modify what the rows refer to.
func (c *Client) ListPeers(ctx context.Context) ([]wire.PeerRow, error) {
	var answer wire.PeersList
	if c.o.OnRoster == nil {
		err := c.request(ctx, wire.TypeListPeers, nil, &answer)
		return answer.Peers, err
	}
	r := &c.roster
	select {
	case r.asking <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-r.asking }()
	var since object
	if r.version != "" {
		since = object{"since": r.version}
	}
	if err := c.request(ctx, wire.TypeListPeers, since, &answer); err != nil {
		return nil, err
	}
	if answer.Version == "" { // protocol v1
		return answer.Peers, nil
	}
	if answer.Since != "" && answer.Since != r.version {
		return nil, fmt.Errorf("list_peers: the broker sent the changes since version %q, but was asked for those since %q", answer.Since, r.version)
	}
	return r.take(&answer), nil
}

// take applies an answer and returns all rows.
func (r *roster) take(answer *wire.PeersList) []wire.PeerRow {
	if answer.Since == "" {
		r.rows = make(map[wire.ID]wire.PeerRow, len(answer.Peers))
	}
	for i := range answer.Peers {
		r.rows[answer.Peers[i].PresenceID] = answer.Peers[i]
	}
	for _, id := range answer.Gone {
		delete(r.rows, id)
	}
	r.version = answer.Version
	return slices.SortedFunc(maps.Values(r.rows), func(a, b wire.PeerRow) int {
		return cmp.Or(a.ConnectedAt.Compare(b.ConnectedAt.Time), bytes.Compare(a.PresenceID[:], b.PresenceID[:]))
	})
}
