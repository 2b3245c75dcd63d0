package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// watchPoll is how often watch asks for the roster. The broker also announces peers that
	// come and go, so this finds the other changes.
	watchPoll = 2 * time.Second
	// flowPoll is how often watch reads the audit log to count messages; flowEntries is how
	// many entries it reads.
	flowPoll    = 5 * time.Second
	flowEntries = 200
	// membersPoll is how often watch asks for the members: the roster shows who has joined, but
	// not who was removed.
	membersPoll = 30 * time.Second
	// watchTimeout limits how long the broker may take to answer.
	watchTimeout = 10 * time.Second
)

// view is a snapshot of a mesh.
type view struct {
	mesh    peer.Mesh
	state   peer.State   // of the connection
	all     []trustedRow // the last known peers, and the members that were away
	members []wire.MemberRow
	heard   time.Time // time of the last answer; zero if there was none
	flow    int       // messages per minute in the mesh; -1 if this member can't read the log
	problem string    // why names could not be checked; "" if they were
}

// watcher keeps the roster of a mesh up to date.
type watcher struct {
	*app
	mesh   peer.Mesh
	flows  bool // whether to fill view.flow
	client *peer.Client
	states chan peer.State // buffered: holds only the newest state
	kicked chan struct{}   // buffered
	view   view
	flowAt time.Time // when the audit log was read last
	listed time.Time // when the members were listed last
	end    error     // why the client has ended
}

// watch calls show with a snapshot of the mesh, first at once and then after each change. It
// returns when ctx ends, when show fails, or when the broker excludes the member.
func (a *app) watch(ctx context.Context, m peer.Mesh, flows bool, show func(view) error) error {
	w := &watcher{app: a, mesh: m, flows: flows, states: make(chan peer.State, 1), kicked: make(chan struct{}, 1), view: view{mesh: m, flow: -1}}
	var err error
	w.client, err = peer.New(peer.Options{Mesh: m, About: a.about(wire.CapTransient), OnRoster: w.kick, OnState: w.changed})
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.end = w.client.Run(run)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	return w.follow(ctx, ended, show)
}

func (w *watcher) kick() {
	select {
	case w.kicked <- struct{}{}:
	default: // a kick is already pending
	}
}

func (w *watcher) changed(s peer.State) {
	for {
		select {
		case w.states <- s:
			return
		case <-w.states: // drop the older state
		}
	}
}

// follow returns nil when ctx ends.
func (w *watcher) follow(ctx context.Context, ended <-chan struct{}, show func(view) error) error {
	poll := time.NewTicker(watchPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return w.end
		case s := <-w.states:
			w.view.state = s
			if !s.Connected {
				if err := show(w.view); err != nil {
					return err
				}
				continue
			}
		case <-w.kicked:
		case <-poll.C:
		}
		if !w.view.state.Connected {
			continue
		}
		if err := w.ask(ctx); err != nil {
			continue // the connection's state says why
		}
		if err := show(w.view); err != nil {
			return err
		}
	}
}

// ask fetches the roster again.
func (w *watcher) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	peers, err := w.client.ListPeers(ctx)
	if err != nil {
		return err
	}
	if time.Since(w.listed) >= membersPoll || !knowsAll(w.view.members, peers) {
		var request *peer.RequestError
		w.view.members, err = w.client.ListMembers(ctx)
		if err != nil && !errors.As(err, &request) { // other broker implementations may refuse this
			return err
		}
		w.listed = time.Now()
	}
	w.view.all, w.view.problem = w.judge(ctx, w.mesh.MeshID, withAway(peers, w.view.members), w.view.members)
	w.view.heard = time.Now()
	if w.readsLog() && time.Since(w.flowAt) >= flowPoll {
		rows, err := w.client.Audit(ctx, wire.AuditQuery{Last: flowEntries})
		if err != nil {
			return err
		}
		w.flowAt, w.view.flow = time.Now(), perMinute(rows, time.Now())
	}
	return nil
}

// readsLog reports whether the member may read the audit log.
func (w *watcher) readsLog() bool {
	own := w.mesh.Member.Public()
	i := slices.IndexFunc(w.view.members, func(m wire.MemberRow) bool { return m.Pubkey == own })
	return w.flows && i >= 0 && w.view.members[i].Role != "member"
}

// perMinute counts the messages of the last minute in the newest entries of the log. If the
// entries cover less than a minute, it extrapolates.
func perMinute(rows []wire.AuditRow, now time.Time) int {
	n, since := 0, now.Add(-time.Minute).UnixMilli()
	for i := range rows {
		if rows[i].At >= since && rows[i].Kind == string(audit.Routed) {
			n++
		}
	}
	if len(rows) < flowEntries || rows[0].At <= since {
		return n
	}
	span := max(now.UnixMilli()-rows[0].At, time.Second.Milliseconds())
	return int(int64(n) * time.Minute.Milliseconds() / span)
}

func knowsAll(members []wire.MemberRow, peers []wire.PeerRow) bool {
	known := make(map[wire.Key]bool, len(members))
	for i := range members {
		known[members[i].Pubkey] = true
	}
	for i := range peers {
		if !known[peers[i].MemberPubkey] {
			return false
		}
	}
	return true
}

// rows returns the peers; with all, also the members that are away.
func (v *view) rows(all bool) []trustedRow {
	if all {
		return v.all
	}
	var here []trustedRow
	for i := range v.all {
		if v.all[i].Status != away {
			here = append(here, v.all[i])
		}
	}
	return here
}

// connection describes the state of the connection in a line.
func (v *view) connection() string {
	switch {
	case v.state.Connected && v.problem != "":
		return "connected, but " + oneLine(v.problem)
	case v.state.Connected:
		return "connected"
	case v.state.Err == nil:
		return "connecting"
	}
	text := "NOT CONNECTED"
	if !v.heard.IsZero() {
		text += ", last update " + timeText(v.heard, time.Now())
	}
	return text + ": " + oneLine(explain(v.state.Err))
}

// watchPeers shows the peers until ctx ends: on a terminal as a live table, otherwise as a
// line per change, or as JSON.
func (a *app) watchPeers(ctx context.Context, all, asJSON bool) error {
	m, err := a.joined()
	if err != nil {
		return err
	}
	switch {
	case asJSON:
		var last []byte
		var problem string
		return a.watch(ctx, m, false, func(v view) error {
			a.warnOnce(&v, &problem)
			return a.peersJSONLine(&v, all, &last)
		})
	case a.terminal:
		return a.showTop(ctx, m, topOptions{all: all, peersOnly: true})
	}
	news := &peerNews{app: a, known: map[string]trustedRow{}}
	return a.watch(ctx, m, false, func(v view) error { return news.print(&v, all) })
}

// warnOnce prints the problem of a view if it isn't the last one.
func (a *app) warnOnce(v *view, last *string) {
	if v.problem != *last && v.problem != "" {
		fmt.Fprintln(a.err, "warning:", v.problem)
	}
	*last = v.problem
}

// peersJSONLine prints the roster if it differs from last.
func (a *app) peersJSONLine(v *view, all bool, last *[]byte) error {
	if !v.state.Connected {
		fmt.Fprintln(a.err, v.connection())
		return nil
	}
	var b bytes.Buffer
	if err := (&app{out: &b}).printJSONLine(nonNil(v.rows(all))); err != nil || bytes.Equal(b.Bytes(), *last) {
		return err
	}
	*last = b.Bytes()
	_, err := a.out.Write(b.Bytes())
	return err
}

// peerNews prints a line for each peer that comes, goes or changes.
type peerNews struct {
	*app
	known map[string]trustedRow // by presence id, or by key if there is none
	down  bool
	// problem is the last one that was printed.
	problem string
}

func (n *peerNews) print(v *view, all bool) error {
	if !v.state.Connected {
		n.down = true
		fmt.Fprintln(n.err, v.connection())
		return nil
	}
	if n.down {
		n.down = false
		fmt.Fprintln(n.err, "Connected again.")
	}
	n.warnOnce(v, &n.problem)
	now := time.Now()
	here := make(map[string]trustedRow)
	for _, row := range v.rows(all) {
		id := row.PresenceID.String()
		if row.Status == away || row.PresenceID == (wire.ID{}) { // other broker implementations may not report it
			id = row.Pubkey.String()
		}
		here[id] = row
		before, known := n.known[id]
		if text := peerText(&row); !known || text != peerText(&before) {
			if _, err := fmt.Fprintf(n.out, "%s %s %s\n", timeText(now, now), row.Pubkey.Short(), text); err != nil {
				return err
			}
		}
	}
	for id, row := range n.known {
		if _, still := here[id]; !still && row.Status != away {
			if _, err := fmt.Fprintf(n.out, "%s %s %s has left\n", timeText(now, now), row.Pubkey.Short(), oneLine(row.DisplayName)); err != nil {
				return err
			}
		}
	}
	n.known = here
	return nil
}

// peerText describes a peer in a line.
func peerText(p *trustedRow) string {
	text := oneLine(p.DisplayName) + " is " + oneLine(statusText(&p.PeerRow))
	if p.Summary != nil && *p.Summary != "" {
		text += ": " + oneLine(*p.Summary)
	}
	if !p.Verified {
		text += " [" + notVerified(p.Doubt) + "]"
	}
	return text
}
