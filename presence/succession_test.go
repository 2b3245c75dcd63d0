package presence

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

func TestSuccessorEndsTheOldPresence(t *testing.T) {
	t.Parallel()
	for _, leased := range []bool{false, true} {
		r := newTester(t)
		old := r.join(t0, r.arrival(1, proving(8))).Presence
		conn := old.Conn
		if leased {
			r.drop(old, at(1))
			conn = 0
		}
		r.TakeDirty()
		j := r.join(at(2), r.arrival(1, proving(9), succeeding(8)))
		if j.How != New || len(j.Ended) != 1 || j.Ended[0].Presence != old || j.Ended[0].Conn != conn || j.Restored != nil {
			t.Fatalf("leased %v: joined as %+v, want New and the old presence ended", leased, j)
		}
		if !old.ended() || r.Len() != 1 || r.Heir(key(8)) != j.Presence {
			t.Fatalf("leased %v: got %d presences and heir %v, want the successor alone", leased, r.Len(), r.Heir(key(8)))
		}
		if records := r.TakeDirty(); len(records) != 2 || records[0].EndedAt.IsZero() || !records[1].EndedAt.IsZero() {
			t.Fatalf("got dirty records %+v, want the ended one and the live one", records)
		}
	}
}

func TestWhoseKeysAreSucceeded(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	for n, member := range map[int]int{5: 1, 6: 1, 7: 2} {
		r.Leave(r.join(t0, r.arrival(member, proving(n))).Presence, r.conns, t0)
	}
	stranger := r.join(t0, r.arrival(2, proving(7))).Presence
	p := r.join(at(1), r.arrival(1, proving(9), succeeding(6, 4, 7, 9, 5, 6))).Presence
	if want := []wire.Key{key(6), key(5)}; !slices.Equal(p.Succeeds, want) {
		t.Errorf("got Succeeds %v, want %v", p.Succeeds, want)
	}
	if stranger.ended() || r.Heir(key(7)) != nil || r.Heir(key(4)) != nil || r.Heir(key(9)) != nil {
		t.Error("a session succeeded a key of another member, an unknown key or its own")
	}
	claim := r.join(at(2), r.arrival(1, claiming(3), succeeding(5))).Presence
	if claim.Succeeds != nil || r.Heir(key(5)) != p {
		t.Error("a connection that did not prove its key succeeded a session")
	}
	// Once another member proves the key, it has no heir.
	r.Leave(r.join(at(3), r.arrival(2, proving(5))).Presence, r.conns, at(3))
	if heir := r.Heir(key(5)); heir != nil {
		t.Errorf("%s is the heir of another member's session", heir.Identity)
	}
}

// TestHeirIsTheNewestThatIsHere checks that the heir of a key is the newest successor that
// is online.
func TestHeirIsTheNewestThatIsHere(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	r.Leave(r.join(t0, r.arrival(1, proving(1))).Presence, r.conns, t0)
	first := r.join(at(1), r.arrival(1, proving(2), succeeding(1))).Presence
	second := r.join(at(2), r.arrival(1, proving(3), succeeding(1))).Presence
	want := func(what string, p *Presence[int]) {
		t.Helper()
		if got := r.Heir(key(1)); got != p {
			t.Fatalf("%s: got heir %+v, want %+v", what, got, p)
		}
	}
	want("two successors", second)
	r.drop(second, at(3))
	want("the newest is leased", first)
	r.join(at(4), r.arrival(1, proving(3), succeeding(1)))
	want("the newest is back", second)
	j := r.join(at(5), r.arrival(1, proving(3)))
	if !slices.Equal(j.Released, []wire.Key{key(1)}) {
		t.Fatalf("released %v, want key 1", j.Released)
	}
	want("the newest no longer succeeds the key", first)
	old := r.join(at(6), r.arrival(1, proving(1))).Presence
	want("the old session is back", nil)
	r.drop(old, at(7))
	want("the old session is leased", nil)
	r.ExpireLeases(at(7).Add(testLease))
	want("the old session has ended", first)
}

// TestOldSessionStays checks that an old session that came back after its successor stays
// when the successor repeats its list, also after a restart of the broker. A successor
// that left and joins again ends it.
func TestOldSessionStays(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	r.join(t0, r.arrival(1, proving(8)))
	r.join(at(1), r.arrival(1, proving(9), succeeding(8)))
	old := r.join(at(2), r.arrival(1, proving(8))).Presence
	if j := r.join(at(3), r.arrival(1, proving(9), succeeding(8))); len(j.Ended) != 0 || old.ended() {
		t.Fatal("the repeated list ended the old session")
	}
	records := r.TakeDirty()
	again := newTester(t)
	again.conns = 100
	again.Restore(records, nil, at(100))
	next := again.join(at(4), again.arrival(1, proving(9), succeeding(8)))
	if len(next.Ended) != 0 || again.Len() != 2 {
		t.Fatal("the list repeated after a restart ended the old session")
	}
	again.Leave(next.Presence, next.Presence.Conn, at(5))
	if j := again.join(at(6), again.arrival(1, proving(9), succeeding(8))); len(j.Ended) != 1 || again.Len() != 1 {
		t.Fatalf("a successor that joined again: got %+v, want the old session ended", j)
	}
}

func TestSuccessionInAFullRoom(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	r.join(t0, r.arrival(1, proving(8)))
	r.refuse(r.arrival(1, proving(9)), 1, ErrCapacity)
	a := r.arrival(1, proving(9), succeeding(8))
	if plan := r.Plan(a); !plan.New || plan.NeedsSlot {
		t.Errorf("got plan %+v, want a new presence that needs no slot", plan)
	}
	if _, err := r.Join(a, 1, at(1)); err != nil {
		t.Errorf("join: %v", err)
	}
	r.check()
}

// TestInheritance checks that a successor inherits the user's settings from the presence
// it ends, otherwise from the stored record of the old session, but not if it has a record
// or groups of its own.
func TestInheritance(t *testing.T) {
	t.Parallel()
	set := Record{
		Identity: SessionIdentity(key(8)), Summary: "old", Stats: []byte(`{}`), Profile: &wire.Profile{Title: "t"}, Groups: named("g"),
		Status: wire.DND, Source: Manual, StatusAt: t0, StatusReason: "lunch",
	}
	elder := func(a *Arrival[int]) { a.Elder = &set }
	inherits := func(p *Presence[int]) bool {
		return !p.Visible && p.Profile != nil && p.Status == wire.DND && p.StatusReason == "lunch" && slices.Equal(p.Groups, named("g"))
	}
	r := newTester(t)
	j := r.join(at(1), r.arrival(1, proving(9), elder))
	if p := j.Presence; !inherits(p) || p.Summary != "" || p.Stats != nil || j.Restored != nil {
		t.Errorf("inherited from the record: got %+v", p)
	}
	next := r.join(at(2), r.arrival(1, proving(10), succeeding(9))).Presence
	if !inherits(next) {
		t.Errorf("inherited from the presence that ended: got %+v", next)
	}
	if p := r.join(at(3), r.arrival(1, proving(11), elder, groups("own"))).Presence; !slices.Equal(p.Groups, named("own")) {
		t.Errorf("got groups %+v, want those of the hello", p.Groups)
	}
	own := Record{Visible: true, Status: wire.Idle, Summary: "own"}
	if p := r.join(at(4), r.arrival(1, proving(12), elder, last(own))).Presence; inherits(p) || p.Summary != "own" {
		t.Errorf("a session with a record of its own: got %+v, want nothing inherited", p)
	}
}
