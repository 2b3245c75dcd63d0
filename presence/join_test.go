package presence

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// TestComingBack tells for each pair of connections what the second one leads to,
// while the first is online and after it dropped.
func TestComingBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		first, second  []opt
		member         int // of the second; the first is of member 1
		online, leased How
		displaces      bool // while the first is online
	}{
		{"proven key", []opt{proving(9)}, []opt{proving(9)}, 1, Replaced, Resumed, false},
		{"proven key, other session id, host and cwd", []opt{proving(9)}, []opt{proving(9), sid("x"), host("y"), cwd("/z")}, 1, Replaced, Resumed, false},
		{"proven key, other member", []opt{proving(9)}, []opt{proving(9)}, 2, Replaced, Resumed, false},
		{"other proven key, same session id", []opt{proving(9)}, []opt{proving(8)}, 1, New, New, false},
		{"proof of a claimed key", []opt{claiming(9)}, []opt{proving(9)}, 1, New, New, false},
		{"one-shot with a session's id", []opt{proving(9)}, []opt{claiming(8)}, 1, New, New, false},
		{"member connection with a session's id", []opt{proving(9)}, []opt{sid("s")}, 1, New, New, false},
		{"session with a member connection's id", nil, []opt{proving(9), sid("daemon-1")}, 1, New, New, false},

		{"same daemon", nil, nil, 1, New, Resumed, true},
		{"restarted daemon", nil, []opt{sid("daemon-2")}, 1, New, Resumed, true},
		{"same daemon, host renamed", nil, []opt{host("other")}, 1, New, Resumed, false},
		{"daemon on another host", nil, []opt{host("other"), sid("daemon-2")}, 1, New, New, false},
		{"other member's daemon", nil, nil, 2, New, New, false},
		{"daemon without a host name", []opt{host("")}, []opt{host("")}, 1, New, Resumed, false},
		{"other daemon without a host name", []opt{host("")}, []opt{host(""), sid("daemon-2")}, 1, New, New, false},

		{"same claimed key and session id", []opt{claiming(9)}, []opt{claiming(9)}, 1, New, Resumed, false},
		{"same claimed key, other session id", []opt{claiming(9)}, []opt{claiming(9), sid("x")}, 1, New, New, false},
		{"other claimed key, same session id", []opt{claiming(9)}, []opt{claiming(8)}, 1, New, New, false},
		{"same claimed key and session id, other member", []opt{claiming(9)}, []opt{claiming(9)}, 2, New, New, false},
		{"member connection with a claimant's id", []opt{claiming(9)}, []opt{sid("s")}, 1, New, New, false},
		{"claim with a member connection's id", nil, []opt{claiming(9), sid("daemon-1")}, 1, New, New, false},
	}
	for _, tt := range tests {
		t.Run(tt.name+", online", func(t *testing.T) {
			t.Parallel()
			r := newTester(t)
			first := r.join(t0, r.arrival(1, tt.first...)).Presence
			conn := first.Conn
			second := r.arrival(tt.member, tt.second...)
			comingBack(r, tt.online, first, second)
			j := r.join(at(1), second)
			if tt.online != j.How {
				t.Fatalf("came in as %d, want %d", j.How, tt.online)
			}
			if j.How == Replaced {
				if j.OldConn != conn || j.Presence != first || j.Displaced != nil {
					t.Fatalf("replaced: %+v", j)
				}
				return
			}
			if !first.Online || first.Conn != conn || j.OldConn != 0 {
				t.Fatal("a live presence was disturbed")
			}
			if (j.Displaced == first) != tt.displaces || (first.Identity == ClaimedIdentity(first.ID)) != (tt.displaces || first.claim || first.Hostname == "") {
				t.Fatalf("displaced: %v; the first is %s", j.Displaced, first.Identity)
			}
		})
		t.Run(tt.name+", leased", func(t *testing.T) {
			t.Parallel()
			r := newTester(t)
			first := r.join(t0, r.arrival(1, tt.first...)).Presence
			identity := first.Identity
			r.drop(first, at(1))
			second := r.arrival(tt.member, tt.second...)
			comingBack(r, tt.leased, first, second)
			j := r.join(at(2), second)
			if j.How != tt.leased || (j.Presence == first) != (tt.leased == Resumed) || j.Displaced != nil {
				t.Fatalf("came in as %d, want %d; %+v", j.How, tt.leased, j)
			}
			if first.Identity != identity {
				t.Fatalf("identity went from %s to %s", identity, first.Identity)
			}
			if j.How == Resumed && (j.Restored == nil || !j.Restored.LastSeenAt.Equal(at(1))) {
				t.Fatalf("restored: %+v", j.Restored)
			}
		})
	}
}

// comingBack checks Plan against what is to happen.
func comingBack(r *tester, how How, first *Presence[int], second *Arrival[int]) {
	r.Helper()
	plan := r.Plan(second)
	if plan.NeedsSlot != (how == New) {
		r.Fatalf("plan: %+v", plan)
	}
	if how != New && plan.Identity != first.Identity {
		r.Fatalf("plan: %+v, want identity %s", plan, first.Identity)
	}
}

func TestTakeoverRefreshesAndKeeps(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1, proving(9), groups("a"), func(a *Arrival[int]) { a.About.Model = "m" })).Presence
	r.SetSummary(p, "busy")
	r.SetStatus(p, Signal{Status: wire.Working, Source: Manual}, at(1), testWindow)
	presence := p.ID

	a := r.arrival(1, proving(9), sid("s2"), pid(7), cwd("/new"), host("h2"), from(away))
	a.DisplayName = "renamed"
	r.join(at(5), a)
	if p.ID != presence || !p.ConnectedAt.Equal(t0) || p.Summary != "busy" || p.Status != wire.Working {
		t.Fatalf("not kept: %+v", p)
	}
	if p.SessionID != "s2" || p.PID != 7 || p.Cwd != "/new" || p.Hostname != "h2" || p.DisplayName != "renamed" || p.Addr != away {
		t.Fatalf("not refreshed: %+v", p)
	}
	if p.Model != "m" || !slices.Equal(p.Groups, named("a")) {
		t.Fatalf("what the hello left out was lost: %+v", p)
	}
	if k, ok := r.Known(key(9)); !ok || k.DisplayName != "renamed" || k.MemberID != id(1) {
		t.Fatalf("known: %+v", k)
	}
	r.join(at(6), r.arrival(1, proving(9), groups("b", "b", "c")))
	if !slices.Equal(p.Groups, named("b", "c")) {
		t.Fatalf("groups %v", p.Groups)
	}
}

func TestDisplacedDaemon(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	older := r.join(t0, r.arrival(1)).Presence
	newer := r.join(at(1), r.arrival(1, sid("daemon-2"))).Presence
	if newer.Identity != HostIdentity(key(1), "vm") || older.Identity != ClaimedIdentity(older.ID) {
		t.Fatalf("newer is %s, older %s", newer.Identity, older.Identity)
	}
	// Both drop, and each gets its own back, in either order.
	r.drop(newer, at(2))
	r.drop(older, at(2))
	if j := r.join(at(3), r.arrival(1)); j.Presence != older || j.Displaced != nil {
		t.Fatalf("the older daemon came back as %s", j.Presence.Identity)
	}
	if j := r.join(at(3), r.arrival(1, sid("daemon-2"))); j.Presence != newer {
		t.Fatalf("the newer daemon came back as %s", j.Presence.Identity)
	}
}

// A hello that was held up is served after a later one of the same peer: the later
// connection stays the newest.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	hello := func(n uint64) opt { return func(a *Arrival[int]) { a.Hello = n } }
	r := newTester(t)
	p := r.join(t0, r.arrival(1, proving(9), hello(2), groups("a"))).Presence
	conn := p.Conn
	r.refuse(r.arrival(1, proving(9), hello(1), groups("b")), noLimit, ErrOvertaken)
	if p.Conn != conn || !slices.Equal(p.Groups, named("a")) {
		t.Fatalf("changed: %+v", p)
	}
	r.drop(p, at(1))
	r.refuse(r.arrival(1, proving(9), hello(1)), noLimit, ErrOvertaken)
	if j := r.join(at(2), r.arrival(1, proving(9), hello(3))); j.Presence != p || j.How != Resumed {
		t.Fatalf("the next one came as %+v", j)
	}
	// Of a daemon that can't be told from another one, both stay.
	newest := r.join(at(2), r.arrival(1, hello(5))).Presence
	older := r.join(at(2), r.arrival(1, hello(4)))
	if older.Displaced != nil || newest.Identity != HostIdentity(key(1), "vm") || older.Presence.Identity != ClaimedIdentity(older.Presence.ID) {
		t.Fatalf("newest is %s, older %s", newest.Identity, older.Presence.Identity)
	}
}

func TestHalfOpenSocketLeavesNoGhost(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	older := r.join(t0, r.arrival(1)).Presence
	r.SetSummary(older, "kept")
	r.SetStatus(older, Signal{Status: wire.DND, Source: Manual}, t0, testWindow)
	j := r.join(at(1), r.arrival(1)) // the same daemon over a new socket
	if j.Restored == nil || j.Presence.Summary != "kept" || j.Presence.Status != wire.DND {
		t.Fatalf("the daemon does not go on where it was: %+v", j.Presence)
	}
	if got := r.Drop(older, older.Conn, at(2), testLease); got != Left {
		t.Fatalf("drop of the dead socket gave %d, want Left", got)
	}
	r.check()
	if r.Len() != 1 || r.Home(key(1)) != j.Presence {
		t.Fatal("the newer connection suffered")
	}
}

func TestKeyTaken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		setup func(r *tester)
	}{
		{"online", func(r *tester) { r.join(t0, r.arrival(1, proving(9))) }},
		{"leased", func(r *tester) { r.drop(r.join(t0, r.arrival(1, proving(9))).Presence, t0) }},
		{"ended", func(r *tester) { r.End(r.join(t0, r.arrival(1, proving(9))).Presence, t0) }},
		{"known from the store", func(r *tester) { r.Restore(nil, []Known{{SessionKey: key(9)}}, at(90)) }},
		{"restored record", func(r *tester) {
			r.Restore([]Record{{Identity: SessionIdentity(key(9)), ID: id(5), SessionKey: key(9), Proven: true}}, nil, at(90))
		}},
		{"own claim, leased when the key was proven", func(r *tester) {
			r.drop(r.join(t0, r.arrival(1, claiming(9))).Presence, t0)
			r.join(t0, r.arrival(1, proving(9)))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newTester(t)
			tt.setup(r)
			r.refuse(r.arrival(1, claiming(9)), noLimit, ErrKeyTaken)
			r.join(t0, r.arrival(1, claiming(8))) // another key is free
		})
	}
}

func TestProofTakesKeyFromClaimants(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	claimants := []*Presence[int]{
		r.join(t0, r.arrival(1, claiming(9))).Presence,
		r.join(t0, r.arrival(2, claiming(9), sid("x"))).Presence,
	}
	if r.ByKey(key(9)) != claimants[0] {
		t.Fatal("the first member's claim does not count")
	}
	p := r.join(at(1), r.arrival(3, proving(9))).Presence
	if r.ByKey(key(9)) != p {
		t.Fatal("the proof does not count")
	}
	for _, c := range claimants {
		if !c.Online || c.Key() != c.MemberKey || r.Home(c.MemberKey) != nil {
			t.Fatalf("claimant: %+v", c)
		}
	}
	r.drop(claimants[1], at(2))
	if j := r.join(at(2), r.arrival(2, sid("x"))); j.How != New {
		t.Fatal("a member connection came back as a claimant that lost its key")
	}
	r.End(p, at(2))
	if r.ByKey(key(9)) != nil {
		t.Fatal("a claimant is found by a key that somebody else proved")
	}
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	session := r.join(t0, r.arrival(1, proving(9))).Presence
	daemon := r.join(t0, r.arrival(1)).Presence
	r.drop(daemon, at(1)) // leased presences count
	r.refuse(r.arrival(1, proving(8)), 2, ErrCapacity)
	r.refuse(r.arrival(2), 2, ErrCapacity)
	r.refuse(r.arrival(2, claiming(9)), 2, ErrCapacity) // before key_taken, as in the handshake
	for _, a := range []*Arrival[int]{r.arrival(1, proving(9)), r.arrival(1)} {
		if _, err := r.Join(a, 2, at(2)); err != nil {
			t.Fatalf("coming back needs no room: %v", err)
		}
	}
	r.End(session, at(3))
	if _, err := r.Join(r.arrival(2), 2, at(3)); err != nil {
		t.Fatalf("join after somebody left: %v", err)
	}
	if r.Len() != 2 {
		t.Fatalf("%d presences", r.Len())
	}
}

func TestRestored(t *testing.T) {
	t.Parallel()
	kept := Record{
		Summary: "s", Stats: json.RawMessage(`{"n":1}`), Groups: named("kept"), Profile: &wire.Profile{Title: "t"},
		Visible: true, Status: wire.Working, Source: Hook, LastSeenAt: at(-500), EndedAt: at(-400),
	}
	dnd, hidden, bare := kept, kept, kept
	dnd.Status, dnd.Source, hidden.Visible, bare.Groups = wire.DND, Manual, false, nil
	tests := []struct {
		name     string
		opts     []opt
		groups   []wire.Group
		status   wire.Status
		visible  bool
		restored bool
	}{
		{"nothing kept, no groups", nil, nil, wire.Idle, true, false},
		{"nothing kept, default groups", []opt{defaults("d")}, named("d"), wire.Idle, true, false},
		{"nothing kept, groups of the hello", []opt{defaults("d"), groups("h")}, named("h"), wire.Idle, true, false},
		{"kept groups before default ones", []opt{defaults("d"), last(kept)}, named("kept"), wire.Idle, true, true},
		{"groups of the hello before kept ones", []opt{groups("h"), last(kept)}, named("h"), wire.Idle, true, true},
		{"no groups kept", []opt{defaults("d"), last(bare)}, named("d"), wire.Idle, true, true},
		{"dnd stays", []opt{last(dnd)}, named("kept"), wire.DND, true, true},
		{"hidden stays", []opt{last(hidden)}, named("kept"), wire.Idle, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newTester(t)
			j := r.join(t0, r.arrival(1, append(tt.opts, proving(9))...))
			p := j.Presence
			if !slices.Equal(p.Groups, tt.groups) || p.Status != tt.status || p.Visible != tt.visible {
				t.Fatalf("groups %v, status %s, visible %v", p.Groups, p.Status, p.Visible)
			}
			if j.How != New || (j.Restored != nil) != tt.restored {
				t.Fatalf("how %d, restored %+v", j.How, j.Restored)
			}
			if !tt.restored {
				return
			}
			got := j.Restored
			if got.Summary != "s" || string(got.Stats) != `{"n":1}` || !got.LastSeenAt.Equal(at(-500)) ||
				!slices.Equal(got.Groups, tt.groups) || p.Profile.Title != "t" || p.ended() {
				t.Fatalf("restored %+v into %+v", got, p)
			}
		})
	}
}
