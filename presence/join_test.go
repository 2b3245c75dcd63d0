package presence

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// TestComingBack checks, for pairs of connections, how the second one joins while the
// first is online and after the first has dropped.
func TestComingBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		first, second  []opt
		member         int // the member of the second; the first belongs to member 1
		online, leased How
		displaces      bool // whether the second displaces the first while that is online
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
				t.Fatalf("joined as %d, want %d", j.How, tt.online)
			}
			if j.How == Replaced {
				if j.OldConn != conn || j.Presence != first || j.Displaced != nil {
					t.Fatalf("got %+v, want the first presence with its old connection", j)
				}
				return
			}
			if !first.Online || first.Conn != conn || j.OldConn != 0 {
				t.Fatal("the second connection changed the live presence of the first")
			}
			if (j.Displaced == first) != tt.displaces || (first.Identity == ClaimedIdentity(first.ID)) != (tt.displaces || first.claim || first.Hostname == "") {
				t.Fatalf("displaced %v, want the first: %v; the first has the identity %s", j.Displaced, tt.displaces, first.Identity)
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
				t.Fatalf("joined as %d, want %d; %+v", j.How, tt.leased, j)
			}
			if first.Identity != identity {
				t.Fatalf("the identity changed from %s to %s", identity, first.Identity)
			}
			if j.How == Resumed && (j.Restored == nil || !j.Restored.LastSeenAt.Equal(at(1))) {
				t.Fatalf("restored %+v, want the presence as last seen at second 1", j.Restored)
			}
		})
	}
}

// comingBack checks that Plan predicts how second joins.
func comingBack(r *tester, how How, first *Presence[int], second *Arrival[int]) {
	r.Helper()
	plan := r.Plan(second)
	if plan.NeedsSlot != (how == New) {
		r.Fatalf("got plan %+v, want NeedsSlot %v", plan, how == New)
	}
	if how != New && plan.Identity != first.Identity {
		r.Fatalf("got plan %+v, want identity %s", plan, first.Identity)
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
		t.Fatalf("the takeover lost fields that it must keep: %+v", p)
	}
	if p.SessionID != "s2" || p.PID != 7 || p.Cwd != "/new" || p.Hostname != "h2" || p.DisplayName != "renamed" || p.Addr != away {
		t.Fatalf("the takeover kept fields that it must refresh: %+v", p)
	}
	if p.Model != "m" || !slices.Equal(p.Groups, named("a")) {
		t.Fatalf("the takeover lost fields that the hello left out: %+v", p)
	}
	if k, ok := r.Known(key(9)); !ok || k.DisplayName != "renamed" || k.MemberID != id(1) {
		t.Fatalf("got known key %+v, want the renamed member 1", k)
	}
	r.join(at(6), r.arrival(1, proving(9), groups("b", "b", "c")))
	if !slices.Equal(p.Groups, named("b", "c")) {
		t.Fatalf("got groups %v, want b and c", p.Groups)
	}
}

func TestDisplacedDaemon(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	older := r.join(t0, r.arrival(1)).Presence
	newer := r.join(at(1), r.arrival(1, sid("daemon-2"))).Presence
	if newer.Identity != HostIdentity(key(1), "vm") || older.Identity != ClaimedIdentity(older.ID) {
		t.Fatalf("the newer daemon is %s, the older %s; want the newer by host", newer.Identity, older.Identity)
	}
	// Both drop, and each gets its own presence back, in either order.
	r.drop(newer, at(2))
	r.drop(older, at(2))
	if j := r.join(at(3), r.arrival(1)); j.Presence != older || j.Displaced != nil {
		t.Fatalf("the older daemon came back as %s, want %s", j.Presence.Identity, older.Identity)
	}
	if j := r.join(at(3), r.arrival(1, sid("daemon-2"))); j.Presence != newer {
		t.Fatalf("the newer daemon came back as %s, want %s", j.Presence.Identity, newer.Identity)
	}
}

// TestOvertaken checks that a peer's newest connection stays the newest when the room
// serves an older, delayed hello after it.
func TestOvertaken(t *testing.T) {
	t.Parallel()
	hello := func(n uint64) opt { return func(a *Arrival[int]) { a.Hello = n } }
	r := newTester(t)
	p := r.join(t0, r.arrival(1, proving(9), hello(2), groups("a"))).Presence
	conn := p.Conn
	r.refuse(r.arrival(1, proving(9), hello(1), groups("b")), noLimit, ErrOvertaken)
	if p.Conn != conn || !slices.Equal(p.Groups, named("a")) {
		t.Fatalf("the delayed hello changed the presence: %+v", p)
	}
	r.drop(p, at(1))
	r.refuse(r.arrival(1, proving(9), hello(1)), noLimit, ErrOvertaken)
	if j := r.join(at(2), r.arrival(1, proving(9), hello(3))); j.Presence != p || j.How != Resumed {
		t.Fatalf("the next hello joined as %+v, want the presence resumed", j)
	}
	// Two daemons that the room cannot tell apart both stay.
	newest := r.join(at(2), r.arrival(1, hello(5))).Presence
	older := r.join(at(2), r.arrival(1, hello(4)))
	if older.Displaced != nil || newest.Identity != HostIdentity(key(1), "vm") || older.Presence.Identity != ClaimedIdentity(older.Presence.ID) {
		t.Fatalf("the newest daemon is %s, the older %s; want the newest by host", newest.Identity, older.Presence.Identity)
	}
}

// TestHalfOpenSocketLeavesNoGhost checks that the presence of a dead socket ends when the
// same daemon has come back over a new one.
func TestHalfOpenSocketLeavesNoGhost(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	older := r.join(t0, r.arrival(1)).Presence
	r.SetSummary(older, "kept")
	r.SetStatus(older, Signal{Status: wire.DND, Source: Manual}, t0, testWindow)
	j := r.join(at(1), r.arrival(1)) // the same daemon over a new socket
	if j.Restored == nil || j.Presence.Summary != "kept" || j.Presence.Status != wire.DND {
		t.Fatalf("the daemon lost its summary or status over the new socket: %+v", j.Presence)
	}
	if got := r.Drop(older, older.Conn, at(2), testLease); got != Left {
		t.Fatalf("Drop of the dead socket = %d, want Left", got)
	}
	r.check()
	if r.Len() != 1 || r.Home(key(1)) != j.Presence {
		t.Fatal("the drop of the dead socket changed more than its own presence")
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
			r.join(t0, r.arrival(1, claiming(8))) // nobody has another key
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
		t.Fatal("ByKey does not return the first claimant")
	}
	p := r.join(at(1), r.arrival(3, proving(9))).Presence
	if r.ByKey(key(9)) != p {
		t.Fatal("ByKey does not return the presence that proved the key")
	}
	for _, c := range claimants {
		if !c.Online || c.Key() != c.MemberKey || r.Home(c.MemberKey) != nil {
			t.Fatalf("got claimant %+v, want it online under its member key only", c)
		}
	}
	r.drop(claimants[1], at(2))
	if j := r.join(at(2), r.arrival(2, sid("x"))); j.How != New {
		t.Fatal("a member connection came back as a claimant that lost its key")
	}
	r.End(p, at(2))
	if r.ByKey(key(9)) != nil {
		t.Fatal("ByKey returns a claimant for a key that another member proved")
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
			t.Fatalf("a peer that comes back was refused by a full room: %v", err)
		}
	}
	r.End(session, at(3))
	if _, err := r.Join(r.arrival(2), 2, at(3)); err != nil {
		t.Fatalf("join after a presence left: %v", err)
	}
	if r.Len() != 2 {
		t.Fatalf("got %d presences, want 2", r.Len())
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
				t.Fatalf("got groups %v, status %s, visible %v; want %v, %s, %v", p.Groups, p.Status, p.Visible, tt.groups, tt.status, tt.visible)
			}
			if j.How != New || (j.Restored != nil) != tt.restored {
				t.Fatalf("joined as %d, want New; restored %+v, want any: %v", j.How, j.Restored, tt.restored)
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
