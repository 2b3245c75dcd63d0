package storagetest

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

func put(t testing.TB, s Store, records ...presence.Record) {
	t.Helper()
	commit(t, s, journal.Batch{Presences: records})
}

func testPresences(t *testing.T, db Database) {
	s := ready(t, db)
	meshID := newID()
	full := record(meshID)
	bare := presence.Record{MeshID: meshID, Identity: presence.HostIdentity(newKey(), "desk"), ID: newID(), MemberID: newID(),
		MemberKey: newKey(), Role: wire.RoleControlPlane, Status: wire.Idle, Source: presence.JSONL, ConnectedAt: now}
	elsewhere := record(newID())
	elsewhere.Identity = full.Identity // one row per mesh and identity
	put(t, s, full, bare, elsewhere)

	list := must[[]presence.Record](t)(s.Presences(t.Context(), meshID))
	equal(t, "presences, by the time they began", list, []presence.Record{full, bare})
	equal(t, "presences elsewhere", must[[]presence.Record](t)(s.Presences(t.Context(), elsewhere.MeshID)), []presence.Record{elsewhere})
	equal(t, "presences of an unknown mesh", len(must[[]presence.Record](t)(s.Presences(t.Context(), newID()))), 0)

	// The newest record replaces every field.
	bare.Identity = full.Identity
	put(t, s, bare)
	got, ok := lastPresence(t, s, bare)
	equal(t, "known", ok, true)
	equal(t, "replaced", got, bare)
	full.EndedAt = now.Add(time.Minute)
	put(t, s, full)
	got, ok = lastPresence(t, s, full)
	equal(t, "known after the end", ok, true)
	equal(t, "ended", got, full)
	equal(t, "presences without the ended", len(must[[]presence.Record](t)(s.Presences(t.Context(), meshID))), 1)
	full.EndedAt = time.Time{}
	put(t, s, full)
	equal(t, "presences with the returned", len(must[[]presence.Record](t)(s.Presences(t.Context(), meshID))), 2)
	if _, ok := lastPresence(t, s, record(meshID)); ok {
		t.Error("an unknown identity has a record")
	}
}

func testClaimedPresences(t *testing.T, db Database) {
	s := ready(t, db)
	r := record(newID())
	r.Identity, r.Proven = presence.ClaimedIdentity(r.ID), false
	put(t, s, r)
	if _, ok := lastPresence(t, s, r); !ok {
		t.Fatal("a live claimed presence has no record")
	}
	r.EndedAt = now
	other := record(r.MeshID)
	other.Identity = presence.ClaimedIdentity(other.ID)
	put(t, s, r, other)
	if _, ok := lastPresence(t, s, r); ok {
		t.Error("the record of an ended claimed presence was kept")
	}
	if _, ok := lastPresence(t, s, other); !ok {
		t.Error("the record of another claimed presence was deleted")
	}
	put(t, s, r) // a presence that ended before it was stored
	if _, ok := lastPresence(t, s, r); ok {
		t.Error("an ended claimed presence was stored")
	}
}

func testKnownSessions(t *testing.T, db Database) {
	s := ready(t, db)
	proven, elsewhere := record(newID()), record(newID())
	ended, claimed, host := record(proven.MeshID), record(proven.MeshID), record(proven.MeshID)
	ended.EndedAt = now
	claimed.Identity, claimed.Proven = presence.ClaimedIdentity(claimed.ID), false
	host.Identity, host.Proven, host.SessionKey = presence.HostIdentity(host.MemberKey, "desk"), false, wire.Key{}
	put(t, s, proven, ended, claimed, host, elsewhere)

	got := map[presence.Known]bool{}
	for _, k := range must[[]presence.Known](t)(s.KnownSessions(t.Context(), proven.MeshID)) {
		got[k] = true
	}
	want := map[presence.Known]bool{}
	for _, r := range []presence.Record{proven, ended} {
		want[presence.Known{SessionKey: r.SessionKey, MemberID: r.MemberID, DisplayName: r.DisplayName}] = true
	}
	equal(t, "known sessions", got, want)
}

func testPrunePresences(t *testing.T, db Database) {
	s := ready(t, db)
	meshID := newID()
	var old []presence.Record
	for range 5 {
		r := record(meshID)
		r.EndedAt = now.Add(-time.Millisecond)
		old = append(old, r)
	}
	recent, live, awaited, empty := record(meshID), record(meshID), record(meshID), record(meshID)
	recent.EndedAt, awaited.EndedAt, empty.EndedAt = now, now.Add(-time.Hour), now.Add(-time.Hour)
	put(t, s, append(old, recent, live, awaited, empty)...)
	held, read := message(meshID, string(awaited.Identity)), message(meshID, string(empty.Identity))
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{held, read},
		Settled: []queue.Settlement{settle(read, 0, queue.Delivered)}})

	prune := func(want ...int) {
		t.Helper()
		for _, n := range want {
			equal(t, "pruned", must[int](t)(s.PrunePresences(t.Context(), now, 4)), n)
		}
	}
	prune(4, 2, 0) // five old ones and the one whose messages were read
	for name, r := range map[string]presence.Record{"recent": recent, "live": live, "awaited": awaited} {
		if _, ok := lastPresence(t, s, r); !ok {
			t.Errorf("the %s presence was pruned", name)
		}
	}
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(held, 0, queue.Expired)}})
	prune(1, 0)
}

func testHellos(t *testing.T, db Database) {
	s := ready(t, db)
	meshID := newID()
	hello := func(n byte, at time.Time) journal.Hello {
		return journal.Hello{Mesh: meshID, Signature: wire.Signature{n, 0xff}, At: at}
	}
	old, older, fresh := hello(1, now.Add(-time.Minute)), hello(2, now.Add(-time.Hour)), hello(3, now)
	commit(t, s, journal.Batch{Hellos: []journal.Hello{fresh, old}})
	commit(t, s, journal.Batch{Hellos: []journal.Hello{older, hello(3, now.Add(time.Hour))}}) // the last is stored already
	foreign := hello(1, now)
	foreign.Mesh = newID()
	commit(t, s, journal.Batch{Hellos: []journal.Hello{foreign}})
	since := func(at time.Time) []journal.Hello { return must[[]journal.Hello](t)(s.Hellos(t.Context(), meshID, at)) }
	equal(t, "all", since(now.Add(-2*time.Hour)), []journal.Hello{older, old, fresh})
	equal(t, "recent", since(old.At), []journal.Hello{old, fresh})
	if err := s.ForgetHellos(t.Context(), old.At); err != nil {
		t.Fatal(err)
	}
	equal(t, "remembered", since(now.Add(-2*time.Hour)), []journal.Hello{old, fresh})
}
