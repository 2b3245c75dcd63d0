package storagetest

import (
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// states returns the state of each delivery of a message.
func states(t testing.TB, s Store, m *queue.Accepted) (list []queue.State) {
	t.Helper()
	for _, r := range find(t, s, m).Recipients {
		if (r.State == queue.Pending) != r.SettledAt.IsZero() {
			t.Errorf("a %s delivery was settled at %v", r.State, r.SettledAt)
		}
		list = append(list, r.State)
	}
	return list
}

// wantBodies checks the number of bodies behind the store's back: if the count violates a
// CHECK constraint, the test ends.
func wantBodies(t testing.TB, db Database, n string) {
	t.Helper()
	db.Exec(t, `CREATE TABLE `+db.Schema+`expected (n integer CHECK (n = `+n+`))`)
	db.Exec(t, `INSERT INTO `+db.Schema+`expected SELECT count(*) FROM `+db.Schema+`bodies`)
	db.Exec(t, `DROP TABLE `+db.Schema+`expected`)
}

func testSettle(t *testing.T, db Database) {
	s := ready(t, db)
	m := message(newID(), "s/a", "s/b", "s/c", "s/d")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m}})
	commit(t, s, journal.Batch{Settled: []queue.Settlement{
		settle(m, 0, queue.Delivered), settle(m, 1, queue.Expired), settle(m, 2, queue.Gone),
		{Mesh: m.MeshID, Seq: m.Recipients[3].Seq + 1_000_000, State: queue.Delivered, At: now}, // unknown
	}})
	want := []queue.State{queue.Delivered, queue.Expired, queue.Gone, queue.Pending}
	equal(t, "states", states(t, s, m), want)
	equal(t, "settled at", find(t, s, m).Recipients[0].SettledAt, now.Add(time.Second))

	// A delivery is settled once; later settlements do not change it.
	commit(t, s, journal.Batch{Settled: []queue.Settlement{
		{Mesh: m.MeshID, Seq: m.Recipients[0].Seq, State: queue.Expired, At: now.Add(time.Hour)}, settle(m, 1, queue.Delivered)}})
	equal(t, "states after a second settlement", states(t, s, m), want)
	equal(t, "settled at after a second settlement", find(t, s, m).Recipients[0].SettledAt, now.Add(time.Second))
	// If a batch settles a delivery twice, the first settlement counts.
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(m, 3, queue.Delivered), settle(m, 3, queue.Expired)}})
	want[3] = queue.Delivered
	equal(t, "states in the end", states(t, s, m), want)
}

func testSettleWithin(t *testing.T, db Database) {
	s := ready(t, db)
	m := message(newID(), "s/a", "s/b")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m}, Settled: []queue.Settlement{settle(m, 0, queue.Delivered)}})
	equal(t, "states", states(t, s, m), []queue.State{queue.Delivered, queue.Pending})
	equal(t, "backlog", len(waiting(t, s, m.MeshID, "s/a")), 0)
	equal(t, "body", bodyIn(t, s, m, "s/b"), m.Ciphertext)
}

func testSharedBody(t *testing.T, db Database) {
	s := ready(t, db)
	m := message(newID(), "s/a", "s/b", "s/c")
	other := message(m.MeshID, "s/a")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m, other}})
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(m, 0, queue.Delivered), settle(m, 2, queue.Delivered)}})
	equal(t, "body for the one who waits", bodyIn(t, s, m, "s/b"), m.Ciphertext)
	wantBodies(t, db, "2")
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(m, 1, queue.Delivered)}})
	wantBodies(t, db, "1")
	equal(t, "body of the other message", bodyIn(t, s, other, "s/a"), other.Ciphertext)
	find(t, s, m) // the message is still there
}

// testBurden checks that a message counts once, as long as anybody waits for it, that a delivery
// counts as long as it is pending, and that both count only in their mesh.
func testBurden(t *testing.T, db Database) {
	s := ready(t, db)
	m, large := message(newID(), "s/a", "s/b"), message(newID(), "s/a")
	large.MeshID, large.Recipients[0].Mailbox.Mesh = m.MeshID, m.MeshID
	large.Ciphertext = strings.Repeat("x", 1<<20)
	each, most := int64(len(m.Nonce)+len(m.Ciphertext)), int64(len(large.Nonce)+len(large.Ciphertext))
	large.ID, large.CreatedAt = agedID(time.Hour), time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	want := func(messages, deliveries, bytes int64) {
		t.Helper()
		b := must[queue.Burden](t)(s.Burden(t.Context(), m.MeshID))
		equal(t, "messages", b.Messages, messages)
		equal(t, "deliveries", b.Deliveries, deliveries)
		equal(t, "bytes", b.Bytes, bytes)
		equal(t, "there is an oldest", !b.Oldest.IsZero(), messages > 0)
		if messages > 0 {
			equal(t, "the oldest is the large one", b.Oldest.Before(m.ID.Time().Add(-time.Minute)), bytes > each)
		}
	}
	want(0, 0, 0)
	other := message(newID(), "s/a")
	other.ID, other.CreatedAt = agedID(2*time.Hour), time.Now().Add(-2*time.Hour).UTC().Truncate(time.Millisecond)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{large, m, other}})
	want(2, 3, each+most)
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(m, 0, queue.Delivered), settle(large, 0, queue.Delivered)}})
	want(1, 1, each)
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(m, 1, queue.Delivered)}})
	want(0, 0, 0)
}

// testDepth checks that the depth counts the waiting deliveries of all meshes and finds the oldest
// message that anybody waits for.
func testDepth(t *testing.T, db Database) {
	s := ready(t, db)
	want := func(deliveries int64, oldest *queue.Accepted) {
		t.Helper()
		d := must[queue.Depth](t)(s.Depth(t.Context()))
		equal(t, "deliveries", d.Deliveries, deliveries)
		if oldest == nil {
			equal(t, "oldest", d.Oldest.IsZero(), true)
		} else if took := d.Oldest.Sub(oldest.ID.Time()); took < -time.Minute || took > time.Minute {
			equal(t, "oldest", d.Oldest, oldest.ID.Time())
		}
	}
	want(0, nil)
	old, young := message(newID(), "s/a", "s/b"), message(newID(), "s/a")
	old.ID, old.CreatedAt = agedID(2*time.Hour), time.Now().Add(-2*time.Hour).UTC().Truncate(time.Millisecond)
	young.ID, young.CreatedAt = agedID(time.Hour), time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{old, young}})
	want(3, old)
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(old, 0, queue.Delivered)}})
	want(2, old)
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(old, 1, queue.Delivered)}})
	want(1, young)
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(young, 0, queue.Delivered)}})
	want(0, nil)
}

// agedID makes an id as if at the given time.
func agedID(age time.Duration) wire.ID {
	var ids wire.IDSource
	return ids.New(time.Now().Add(-age))
}

// testMessageAttestation checks that the attestation of a message is kept as long as somebody waits
// for the message, and that everybody who waits gets it.
func testMessageAttestation(t *testing.T, db Database) {
	s := ready(t, db)
	m, other, none := message(newID(), "s/a", "s/b"), message(newID(), "s/a"), message(newID(), "s/a")
	m.SenderAttestation = attestation(m.SenderKey, m.SenderMemberKey)
	other.MeshID, none.MeshID, other.Recipients[0].Mailbox.Mesh, none.Recipients[0].Mailbox.Mesh = m.MeshID, m.MeshID, m.MeshID, m.MeshID
	other.SenderAttestation = attestation(other.SenderKey, other.SenderMemberKey)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m, other, none}})
	for i, want := range []*wire.Attestation{m.SenderAttestation, other.SenderAttestation, nil} {
		equal(t, "attestation", waiting(t, s, m.MeshID, "s/a")[i].Message.SenderAttestation, want)
	}
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(m, 0, queue.Delivered)}})
	equal(t, "attestation for the one who waits", waiting(t, s, m.MeshID, "s/b")[0].Message.SenderAttestation, m.SenderAttestation)
}

func testClosed(t *testing.T, db Database) {
	s := ready(t, db)
	old, alone, read := message(newID(), "p/gone", "s/stays"), (*queue.Accepted)(nil), (*queue.Accepted)(nil)
	alone, read = message(old.MeshID, "p/gone"), message(old.MeshID, "p/gone")
	elsewhere := message(newID(), "p/gone")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{old, alone, read, elsewhere},
		Settled: []queue.Settlement{settle(read, 0, queue.Delivered)}})
	// A message and a settlement are in the batch that closes the mailbox; the closing
	// comes after them.
	late, acked := message(old.MeshID, "p/gone"), message(old.MeshID, "p/gone")
	after := message(old.MeshID, "p/gone") // the mailbox accepts messages again
	commit(t, s, journal.Batch{
		Messages: []*queue.Accepted{late, acked, after},
		Settled:  []queue.Settlement{settle(acked, 0, queue.Delivered)},
		Closed: []queue.Closing{{Mailbox: old.Recipients[0].Mailbox, At: now.Add(time.Minute), Upto: acked.Recipients[0].Seq},
			{Mailbox: queue.Mailbox{Mesh: old.MeshID, Name: "p/unknown"}, At: now, Upto: acked.Recipients[0].Seq}},
	})
	for _, test := range []struct {
		name string
		m    *queue.Accepted
		want []queue.State
	}{
		{"with another recipient", old, []queue.State{queue.Gone, queue.Pending}},
		{"alone", alone, []queue.State{queue.Gone}},
		{"read before", read, []queue.State{queue.Delivered}},
		{"of the same batch", late, []queue.State{queue.Gone}},
		{"read in the same batch", acked, []queue.State{queue.Delivered}},
		{"of another mesh", elsewhere, []queue.State{queue.Pending}},
		{"sent after the end", after, []queue.State{queue.Pending}},
	} {
		equal(t, test.name, states(t, s, test.m), test.want)
	}
	equal(t, "closed at", find(t, s, alone).Recipients[0].SettledAt, now.Add(time.Minute))
	equal(t, "backlog of the closed mailbox", len(waiting(t, s, old.MeshID, "p/gone")), 1)
	equal(t, "body for the one who waits", bodyIn(t, s, old, "s/stays"), old.Ciphertext)
	wantBodies(t, db, "3")
}

func testDeliveredAtOnce(t *testing.T, db Database) {
	s := ready(t, db)
	m, partly, nobody := message(newID(), "s/a", "s/b"), message(newID(), "s/a", "s/b"), message(newID())
	for _, r := range []*queue.Recipient{&m.Recipients[0], &m.Recipients[1], &partly.Recipients[0]} {
		r.State, r.SettledAt = queue.Delivered, now
	}
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m, partly, nobody}})
	equal(t, "states", states(t, s, m), []queue.State{queue.Delivered, queue.Delivered})
	equal(t, "states of the other", states(t, s, partly), []queue.State{queue.Delivered, queue.Pending})
	equal(t, "body for the one who waits", bodyIn(t, s, partly, "s/b"), partly.Ciphertext)
	equal(t, "recipients of a message to nobody", len(find(t, s, nobody).Recipients), 0)
	wantBodies(t, db, "1")
}

func testSweep(t *testing.T, db Database) {
	s := ready(t, db)
	meshID := newID()
	cutoff, forget := now.Add(-7*24*time.Hour), now.Add(-8*24*time.Hour)
	made := func(at time.Time, boxes ...string) *queue.Accepted {
		m := message(meshID, boxes...)
		m.CreatedAt = at
		return m
	}
	old, read := made(forget.Add(-time.Millisecond), "s/a", "s/b"), made(forget.Add(-time.Hour), "s/a")
	late, lateRead := made(cutoff.Add(-time.Millisecond), "s/a", "s/b"), made(forget, "s/a")
	young, youngRead := made(cutoff, "s/a"), made(now, "s/a")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{old, read, late, lateRead, young, youngRead}, Settled: []queue.Settlement{
		settle(old, 0, queue.Delivered), settle(read, 0, queue.Delivered), settle(late, 0, queue.Delivered),
		settle(lateRead, 0, queue.Delivered), settle(youngRead, 0, queue.Delivered)}})
	wantBodies(t, db, "3")
	if n := must[int](t)(s.Sweep(t.Context(), cutoff, forget, now, 1000)); n == 0 {
		t.Fatal("the first sweep had nothing to do")
	}
	for range 10 {
		if must[int](t)(s.Sweep(t.Context(), cutoff, forget, now, 1000)) == 0 {
			break
		}
	}
	wantBodies(t, db, "1")
	for name, m := range map[string]*queue.Accepted{"expired": old, "read": read} {
		if got := must[[]queue.Accepted](t)(s.Find(t.Context(), meshID, m.ID.String(), 1)); len(got) != 0 {
			t.Errorf("the %s message is still there: %+v", name, got)
		}
	}
	equal(t, "expired, not forgotten", states(t, s, late), []queue.State{queue.Delivered, queue.Expired})
	equal(t, "delivered, not forgotten", states(t, s, lateRead), []queue.State{queue.Delivered})
	equal(t, "young", states(t, s, young), []queue.State{queue.Pending})
	equal(t, "body of the young", bodyIn(t, s, young, "s/a"), young.Ciphertext)
	equal(t, "young and read", states(t, s, youngRead), []queue.State{queue.Delivered})
	equal(t, "at the end", must[int](t)(s.Sweep(t.Context(), cutoff, forget, now, 1000)), 0)
	equal(t, "backlog", len(waiting(t, s, meshID, "s/b")), 0)
}

// testSweepAfterClockJump checks that a sweep does not search again where it found nothing, unless
// the clock was set back.
func testSweepAfterClockJump(t *testing.T, db Database) {
	s := ready(t, db)
	sweep := func(expire time.Time) int {
		t.Helper()
		return must[int](t)(s.Sweep(t.Context(), expire, now.Add(-time.Hour), now, 10))
	}
	equal(t, "swept at first", sweep(now), 0)
	m := message(newID(), "s/a")
	m.CreatedAt = now.Add(-20 * time.Minute) // by a clock that was set back
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m}})
	equal(t, "swept by that clock", sweep(now.Add(-10*time.Minute)), 1)
	equal(t, "state", states(t, s, m), []queue.State{queue.Expired})
	later := message(m.MeshID, "s/a")
	later.CreatedAt = now.Add(time.Minute)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{later}})
	equal(t, "swept before it is due", sweep(now.Add(time.Minute)), 0)
	equal(t, "swept when it is", sweep(now.Add(time.Minute+time.Millisecond)), 1)
}

func testSweepExhaustion(t *testing.T, db Database) {
	s := ready(t, db)
	meshID := newID()
	var list []*queue.Accepted
	for i := range 40 {
		m := message(meshID, "s/a", "s/b", "s/c")
		m.CreatedAt = now.Add(time.Duration(i-60) * time.Second)
		list = append(list, m)
	}
	list = append(list, messages(meshID, 5, "s/young")...)
	commit(t, s, journal.Batch{Messages: list})
	rounds := 0
	for must[int](t)(s.Sweep(t.Context(), now.Add(-time.Second), now.Add(-time.Second), now, 7)) > 0 {
		if rounds++; rounds > 200 {
			t.Fatal("the sweep does not come to an end")
		}
	}
	if rounds < 120/7 { // 120 deliveries, at most 7 at a time
		t.Errorf("swept in %d rounds, want at least %d: a round exceeded its limit", rounds, 120/7)
	}
	wantBodies(t, db, "5")
	equal(t, "backlog", len(waiting(t, s, meshID, "s/a")), 0)
	equal(t, "young", len(waiting(t, s, meshID, "s/young")), 5)
}
