package presence

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

func TestLease(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1, proving(9))).Presence
	r.drop(p, at(10))
	if over := r.ExpireLeases(at(99)); over != nil {
		t.Fatalf("a lease ended a second too early: %v", over)
	}
	if r.ByKey(key(9)) != p {
		t.Fatal("ByKey does not return a leased presence")
	}
	over := r.ExpireLeases(at(100))
	if len(over) != 1 || over[0] != p || !p.ended() || !p.EndedAt.Equal(at(100)) || !p.LastSeenAt.Equal(at(10)) {
		t.Fatalf("ended %v, want the one presence; it is %+v", over, p)
	}
	r.check()
	if r.Len() != 0 || r.ByKey(key(9)) != nil || r.byID[p.ID] != nil {
		t.Fatal("the room still holds an ended presence")
	}
	if r.ExpireLeases(at(1000)) != nil {
		t.Fatal("a presence ended twice")
	}
}

// TestEndOfReplacedConnection checks that the end of a replaced connection does not end
// the presence.
func TestEndOfReplacedConnection(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1, proving(9))).Presence
	old := p.Conn
	r.join(at(1), r.arrival(1, proving(9)))
	if got := r.Drop(p, old, at(2), testLease); got != Stale {
		t.Fatalf("Drop = %d, want Stale", got)
	}
	if r.Leave(p, old, at(2)) || !p.Online {
		t.Fatal("the old connection's close ended the presence")
	}
	r.drop(p, at(3))
	if r.Leave(p, p.Conn, at(3)) || r.Drop(p, p.Conn, at(3), testLease) != Stale {
		t.Fatal("a leased presence, which has no connection, left or dropped again")
	}
	r.join(at(4), r.arrival(1, proving(9)))
	if !r.Leave(p, p.Conn, at(5)) || !p.ended() || r.Len() != 0 {
		t.Fatal("a clean close did not end the presence")
	}
	if r.End(p, at(6)) || r.Leave(p, p.Conn, at(6)) {
		t.Fatal("a presence ended twice")
	}
	r.check()
}

func TestEndOfLeased(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1)).Presence
	r.drop(p, at(1))
	if !r.End(p, at(2)) || !p.EndedAt.Equal(at(2)) || !p.LastSeenAt.Equal(at(1)) {
		t.Fatalf("got %+v, want ended at second 2 and last seen at second 1", p)
	}
	r.check()
}

func TestRestart(t *testing.T) {
	t.Parallel()
	before := newTester(t)
	before.join(t0, before.arrival(1))
	before.join(at(1), before.arrival(1, proving(9)))
	before.join(at(2), before.arrival(2, claiming(8), sid("c")))
	gone := before.join(at(3), before.arrival(2, proving(7))).Presence
	before.End(gone, at(4))

	r := newTester(t)
	r.conns = 100
	records := before.TakeDirty()
	slices.Reverse(records)
	r.Restore(records, []Known{{SessionKey: key(7), MemberID: id(2), DisplayName: "n"}}, at(90))
	r.check()
	if r.Len() != 3 {
		t.Fatalf("got %d presences after a restart, want 3", r.Len())
	}
	for i, p := range r.All() {
		if p.Online || p.ID != before.All()[i].ID || !p.LeaseUntil.Equal(at(90)) {
			t.Fatalf("restored %+v, want it leased until second 90", p)
		}
	}
	if r.TakeDirty() != nil {
		t.Fatal("Restore marked records as dirty")
	}
	if _, ok := r.Known(key(7)); !ok {
		t.Fatal("a known key was forgotten")
	}
	for i, a := range []*Arrival[int]{r.arrival(1), r.arrival(1, proving(9)), r.arrival(2, claiming(8), sid("c"))} {
		if j := r.join(at(50), a); j.How != Resumed || j.Presence.ID != before.All()[i].ID {
			t.Fatalf("arrival %d joined as %d, want its presence resumed", i, j.How)
		}
	}
	if r.ExpireLeases(at(90)) != nil {
		t.Fatal("a presence ended although its peer came back")
	}
}

func TestTakeDirty(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	take := func(want ...Identity) []Record {
		t.Helper()
		records := r.TakeDirty()
		var got []Identity
		for _, rec := range records {
			got = append(got, rec.Identity)
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("dirty: %v, want %v", got, want)
		}
		return records
	}
	take()
	p := r.join(t0, r.arrival(1, proving(9))).Presence
	session := SessionIdentity(key(9))
	if rec := take(session)[0]; rec.MeshID != id(1) || rec.Role != wire.RoleSession || !rec.EndedAt.IsZero() {
		t.Fatalf("got record %+v, want a live session of mesh 1", rec)
	}
	take()
	r.Touch(p, at(1))
	r.SetSummary(p, p.Summary)
	r.SetVisible(p, true)
	take() // no change that must be stored

	if err := r.JoinGroup(p, wire.Group{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	r.SetSummary(p, "x")
	snapshot := take(session)[0]
	if err := r.JoinGroup(p, wire.Group{Name: "a", Role: "lead"}); err != nil {
		t.Fatal(err)
	}
	if snapshot.Summary != "x" || snapshot.Groups[0].Role != "" {
		t.Fatalf("a taken record changed: %+v", snapshot)
	}

	// A presence ends and a new one takes its identity before TakeDirty: it returns the new one.
	r.End(p, at(2))
	q := r.join(at(3), r.arrival(1, proving(9))).Presence
	r.SetSummary(p, "of the ended presence")
	r.Touch(p, at(9))
	r.SetStatus(p, Signal{Status: wire.DND, Source: Manual}, at(9), testWindow)
	if err := r.JoinGroup(p, wire.Group{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	r.check()
	if rec := take(session)[0]; rec.ID != q.ID || !rec.EndedAt.IsZero() {
		t.Fatalf("got record %+v, want the new presence", rec)
	}
	r.End(q, at(4))
	if rec := take(session)[0]; !rec.EndedAt.Equal(at(4)) {
		t.Fatalf("got record %+v, want it ended at second 4", rec)
	}
	take()

	// A displaced daemon gets another identity, and the newer daemon takes its old one.
	older := r.join(at(5), r.arrival(1)).Presence
	take(HostIdentity(key(1), "vm"))
	newer := r.join(at(6), r.arrival(1, sid("daemon-2"))).Presence
	for _, rec := range take(HostIdentity(key(1), "vm"), ClaimedIdentity(older.ID)) {
		if (rec.Identity == newer.Identity) != (rec.ID == newer.ID) {
			t.Fatalf("the record of %s has id %s, of the other daemon", rec.Identity, rec.ID)
		}
	}
}
