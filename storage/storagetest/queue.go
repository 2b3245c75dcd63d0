package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

func testRoundTrip(t *testing.T, db Database) {
	s := ready(t, db)
	m := message(newID(), "s/a", "s/b", "m/c")
	m.Priority, m.ClientID, m.Fingerprint, m.Topic, m.ReplyTo = wire.Now, "client-1", "fp", "topic", "reply"
	m.Mentions, m.BodyVersion, m.KeyEpoch = []string{"Zoë", "🦊"}, 2, 1<<40
	m.SenderAttestation = attestation(m.SenderKey, m.SenderMemberKey)
	m.Recipients[1].SameMember = true
	m.Recipients[2].State, m.Recipients[2].SettledAt = queue.Delivered, now.Add(3*time.Second)
	bare := message(m.MeshID, "s/a")
	bare.SenderKey, bare.SenderMemberKey, bare.SenderName = wire.Key{}, wire.Key{}, ""
	bare.TargetSpec, bare.Nonce, bare.Ciphertext = "", "", ""
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m, bare}})

	equal(t, "backlog", waiting(t, s, m.MeshID, "s/a"), []queue.Waiting{
		{Seq: m.Recipients[0].Seq, Message: m.Message}, {Seq: bare.Recipients[0].Seq, Message: bare.Message}})
	equal(t, "backlog of the same member", waiting(t, s, m.MeshID, "s/b"),
		[]queue.Waiting{{Seq: m.Recipients[1].Seq, SameMember: true, Message: m.Message}})
	equal(t, "backlog of a delivered one", len(waiting(t, s, m.MeshID, "m/c")), 0)
	want := *m
	want.Nonce, want.Ciphertext, want.SenderAttestation = "", "", nil
	equal(t, "found", find(t, s, m), want)
}

func testBacklog(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	box := queue.Mailbox{Mesh: newID(), Name: "s/a"}
	list := messages(box.Mesh, 200, box.Name)
	for i, m := range list {
		m.Priority = []wire.Priority{wire.Next, wire.Low, wire.Now}[i%3]
	}
	// Seq defines the order, whatever the order of storing and the clocks are.
	shuffled := slices.Clone(list)
	slices.Reverse(shuffled)
	shuffled[0].CreatedAt = now.Add(-time.Hour)
	commit(t, s, journal.Batch{Messages: shuffled[:90]})
	commit(t, s, journal.Batch{Messages: shuffled[90:]})

	seqs := func(after int64, urgent bool, limit int) (list []int64) {
		t.Helper()
		for _, w := range must[[]queue.Waiting](t)(s.Backlog(ctx, box, after, urgent, limit)) {
			list = append(list, w.Seq)
		}
		return list
	}
	var all, urgent []int64
	for _, m := range list {
		all = append(all, m.Recipients[0].Seq)
		if m.Priority == wire.Now {
			urgent = append(urgent, m.Recipients[0].Seq)
		}
	}
	equal(t, "all", seqs(0, false, 1000), all)
	equal(t, "urgent", seqs(0, true, 1000), urgent)
	equal(t, "limit", seqs(0, false, 7), all[:7])
	equal(t, "urgent limit", seqs(0, true, 7), urgent[:7])
	equal(t, "after", seqs(all[99], false, 10), all[100:110])
	equal(t, "urgent after", seqs(urgent[9], true, 10), urgent[10:20])
	equal(t, "after the last", len(seqs(all[199], false, 10)), 0)
	equal(t, "no limit", len(seqs(0, false, 0)), 0)

	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(list[0], 0, queue.Delivered), settle(list[2], 0, queue.Expired)}})
	equal(t, "after settlements", seqs(0, false, 2), []int64{all[1], all[3]})
	equal(t, "urgent after settlements", seqs(0, true, 1), urgent[1:2])
}

func testBacklogIsolation(t *testing.T, db Database) {
	s := ready(t, db)
	a, b := message(newID(), "s/x"), message(newID(), "s/x")
	c := message(a.MeshID, "s/x2", "s/")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{a, b, c}})
	for _, m := range []*queue.Accepted{a, b} {
		got := waiting(t, s, m.MeshID, "s/x")
		if len(got) != 1 || got[0].Message.ID != m.ID {
			t.Errorf("a mailbox holds %+v", got)
		}
	}
	equal(t, "unknown mailbox", len(waiting(t, s, a.MeshID, "s/unknown")), 0)
}

func testFind(t *testing.T, db Database) {
	s := ready(t, db)
	meshID := newID()
	at := func(meshID wire.ID, hex string) *queue.Accepted {
		t.Helper()
		m := message(meshID, "s/b", "s/a")
		m.ID = must[wire.ID](t)(wire.ParseID(hex))
		return m
	}
	list := []*queue.Accepted{
		at(meshID, "0000000000000000000000000000000a"),
		at(meshID, "0123456789ab7000800000000000ffff"),
		at(meshID, "0123456789ab70008000000000010000"),
		at(meshID, "0123456789ac70008000000000000000"),
		at(meshID, "ffffffffffffffffffffffffffffffff"),
	}
	foreign := at(newID(), "0123456789ab70008000000000020000")
	commit(t, s, journal.Batch{Messages: append(list, foreign)})

	tests := []struct {
		prefix string
		limit  int
		want   []*queue.Accepted
	}{
		{"01234567", 10, list[1:4]},
		{"01234567", 2, list[1:3]},
		{"0123456789a", 10, list[1:4]},
		{"0123456789ab", 10, list[1:3]},
		{"0123456789ab7000800000000000", 10, list[1:2]},
		{"0123456789ab7000800000000000f", 10, list[1:2]},
		{list[3].ID.String(), 10, list[3:4]},
		{"00000000", 10, list[:1]},
		{"ffffffff", 10, list[4:]},
		{"0123456a", 10, nil},
		{foreign.ID.String(), 10, nil},
		{"ABCDEF01", 10, nil},
		{"0123456%", 10, nil},
		{list[3].ID.String() + "0", 10, nil},
	}
	for _, test := range tests {
		got := must[[]queue.Accepted](t)(s.Find(t.Context(), meshID, test.prefix, test.limit))
		if len(got) != len(test.want) {
			t.Errorf("%q finds %d messages, want %d", test.prefix, len(got), len(test.want))
			continue
		}
		for i, m := range test.want {
			want := *m
			want.Nonce, want.Ciphertext = "", ""
			equal(t, test.prefix, got[i], want)
		}
	}
}

func testSent(t *testing.T, db Database) {
	s := ready(t, db)
	a := messages(newID(), 10, "s/a")
	var want []queue.Sent
	for i, m := range a {
		m.SenderMember = a[0].SenderMember
		if i%2 == 0 { // the other messages have none
			m.ClientID = m.ID.String()
			want = append([]queue.Sent{{ClientID: m.ClientID, MessageID: m.ID}}, want...)
		}
	}
	otherMember, otherMesh := message(a[0].MeshID, "s/a"), message(newID(), "s/a")
	otherMember.ClientID, otherMesh.ClientID, otherMesh.SenderMember = "x", "y", a[0].SenderMember
	commit(t, s, journal.Batch{Messages: append(a, otherMember, otherMesh)})
	for limit, n := range map[int]int{100: 5, 5: 5, 3: 3} {
		got := must[[]queue.Sent](t)(s.Sent(t.Context(), a[0].MeshID, a[0].SenderMember, limit))
		equal(t, "sent", got, want[:n])
	}
	equal(t, "nothing sent", len(must[[]queue.Sent](t)(s.Sent(t.Context(), newID(), a[0].SenderMember, 10))), 0)
}

func testMark(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	meshID := newID()
	mark := func(of *queue.Accepted, i int) {
		t.Helper()
		equal(t, "mark", must[queue.Mark](t)(s.Mark(ctx, of.MeshID)), queue.Mark{Seq: of.Recipients[i].Seq, Message: of.ID})
	}
	equal(t, "mark of an empty mesh", must[queue.Mark](t)(s.Mark(ctx, meshID)), queue.Mark{})
	first, second, foreign := message(meshID, "s/a", "s/b"), message(meshID, "s/a"), message(newID(), "s/a")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{second, foreign, first}})
	mark(second, 0)
	mark(foreign, 0)
	third := message(meshID, "s/a", "s/b")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{third}})
	mark(third, 1)
	mark(foreign, 0)
	read := message(meshID, "s/a")
	read.Recipients[0].State, read.Recipients[0].SettledAt = queue.Delivered, now
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{read}})
	mark(read, 0)

	// The marks remain when their message is deleted.
	for must[int](t)(s.Sweep(ctx, now.Add(time.Hour), now.Add(time.Hour), now, 10)) > 0 {
	}
	mark(read, 0)
	mark(foreign, 0)
	low := message(meshID, "s/a")
	low.ID, low.Recipients[0].Seq = wire.ID{1}, 1
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{low}})
	mark(read, 0)
}

// testSeqPerMesh checks that deliveries of two meshes are different deliveries even if they have
// the same numbers.
func testSeqPerMesh(t *testing.T, db Database) {
	s := ready(t, db)
	a, b := message(newID(), "s/a", "s/b"), message(newID(), "s/a", "s/b")
	for i := range b.Recipients {
		b.Recipients[i].Seq = a.Recipients[i].Seq
	}
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{a, b}})
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(a, 0, queue.Delivered), settle(a, 1, queue.Delivered)}})
	equal(t, "settled", states(t, s, a), []queue.State{queue.Delivered, queue.Delivered})
	equal(t, "of the other mesh", states(t, s, b), []queue.State{queue.Pending, queue.Pending})
	equal(t, "body", bodyIn(t, s, b, "s/a"), b.Ciphertext)
	wantBodies(t, db, "1")
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(b, 1, queue.Delivered)}})
	equal(t, "one settled", states(t, s, b), []queue.State{queue.Pending, queue.Delivered})

	// Two broker processes would give the same number twice. The store must refuse that.
	again := message(b.MeshID, "s/a")
	again.Recipients[0].Seq = b.Recipients[0].Seq
	if _, err := s.Commit(t.Context(), &journal.Batch{Messages: []*queue.Accepted{again}}); err == nil {
		t.Error("a delivery was stored under the number of another")
	}

	// Expiring and deleting one mesh's deliveries does not affect another mesh's
	// deliveries.
	young, old := message(newID(), "s/a"), message(newID(), "s/a")
	young.Recipients[0].Seq, old.CreatedAt = old.Recipients[0].Seq, now.Add(-time.Hour)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{young, old}})
	for must[int](t)(s.Sweep(t.Context(), now.Add(-time.Minute), now.Add(-time.Minute), now, 10)) > 0 {
	}
	equal(t, "young", states(t, s, young), []queue.State{queue.Pending})
	equal(t, "old", len(must[[]queue.Accepted](t)(s.Find(t.Context(), old.MeshID, old.ID.String(), 1))), 0)
}
