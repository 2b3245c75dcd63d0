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
		t.Fatalf("ended a second too early: %v", over)
	}
	if r.ByKey(key(9)) != p {
		t.Fatal("a leased presence is not found")
	}
	over := r.ExpireLeases(at(100))
	if len(over) != 1 || over[0] != p || !p.ended() || !p.EndedAt.Equal(at(100)) || !p.LastSeenAt.Equal(at(10)) {
		t.Fatalf("ended %v: %+v", over, p)
	}
	r.check()
	if r.Len() != 0 || r.ByKey(key(9)) != nil || r.byID[p.ID] != nil {
		t.Fatal("an ended presence is found")
	}
	if r.ExpireLeases(at(1000)) != nil {
		t.Fatal("ended twice")
	}
}

func TestEndOfReplacedConnection(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1, proving(9))).Presence
	old := p.Conn
	r.join(at(1), r.arrival(1, proving(9)))
	if got := r.Drop(p, old, at(2), testLease); got != Stale {
		t.Fatalf("drop gave %d", got)
	}
	if r.Leave(p, old, at(2)) || !p.Online {
		t.Fatal("the old connection's close ended the presence")
	}
	r.drop(p, at(3))
	if r.Leave(p, p.Conn, at(3)) || r.Drop(p, p.Conn, at(3), testLease) != Stale {
		t.Fatal("a leased presence has no connection that could end")
	}
	r.join(at(4), r.arrival(1, proving(9)))
	if !r.Leave(p, p.Conn, at(5)) || !p.ended() || r.Len() != 0 {
		t.Fatal("a clean close did not end the presence")
	}
	if r.End(p, at(6)) || r.Leave(p, p.Conn, at(6)) {
		t.Fatal("ended twice")
	}
	r.check()
}

func TestEndOfLeased(t *testing.T) {
	t.Parallel()
	r := newTester(t)
	p := r.join(t0, r.arrival(1)).Presence
	r.drop(p, at(1))
	if !r.End(p, at(2)) || !p.EndedAt.Equal(at(2)) || !p.LastSeenAt.Equal(at(1)) {
		t.Fatalf("ended: %+v", p)
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
		t.Fatalf("%d presences after a restart, want 3", r.Len())
	}
	for i, p := range r.All() {
		if p.Online || p.ID != before.All()[i].ID || !p.LeaseUntil.Equal(at(90)) {
			t.Fatalf("restored: %+v", p)
		}
	}
	if r.TakeDirty() != nil {
		t.Fatal("what was read is to be written")
	}
	if _, ok := r.Known(key(7)); !ok {
		t.Fatal("a known key was forgotten")
	}
	for i, a := range []*Arrival[int]{r.arrival(1), r.arrival(1, proving(9)), r.arrival(2, claiming(8), sid("c"))} {
		if j := r.join(at(50), a); j.How != Resumed || j.Presence.ID != before.All()[i].ID {
			t.Fatalf("arrival %d came in as %d", i, j.How)
		}
	}
	if r.ExpireLeases(at(90)) != nil {
		t.Fatal("somebody who came back was ended")
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
		t.Fatalf("record: %+v", rec)
	}
	take()
	r.Touch(p, at(1))
	r.SetSummary(p, p.Summary)
	r.SetVisible(p, true)
	take() // nothing worth a write

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

	// An end, and a new beginning before it was taken: the newest form counts.
	r.End(p, at(2))
	q := r.join(at(3), r.arrival(1, proving(9))).Presence
	r.SetSummary(p, "of the dead")
	r.Touch(p, at(9))
	r.SetStatus(p, Signal{Status: wire.DND, Source: Manual}, at(9), testWindow)
	if err := r.JoinGroup(p, wire.Group{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	r.check()
	if rec := take(session)[0]; rec.ID != q.ID || !rec.EndedAt.IsZero() {
		t.Fatalf("record: %+v", rec)
	}
	r.End(q, at(4))
	if rec := take(session)[0]; !rec.EndedAt.Equal(at(4)) {
		t.Fatalf("record of the ended: %+v", rec)
	}
	take()

	// A displaced daemon changes its identity; the old one is the newcomer's.
	older := r.join(at(5), r.arrival(1)).Presence
	take(HostIdentity(key(1), "vm"))
	newer := r.join(at(6), r.arrival(1, sid("daemon-2"))).Presence
	for _, rec := range take(HostIdentity(key(1), "vm"), ClaimedIdentity(older.ID)) {
		if (rec.Identity == newer.Identity) != (rec.ID == newer.ID) {
			t.Fatalf("%s is the record of %s", rec.Identity, rec.ID)
		}
	}
}
