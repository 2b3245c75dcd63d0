package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// b0 is an empty list of presences, to append to.
var b0 []presence.Record

// nothingOf checks that a refused batch changed nothing: the store has neither its message
// nor its presence, and the delivery that it would settle is still pending.
func nothingOf(t testing.TB, s Store, m *queue.Accepted, id presence.Identity, pending *queue.Accepted) {
	t.Helper()
	if found := must[[]queue.Accepted](t)(s.Find(t.Context(), m.MeshID, m.ID.String(), 1)); len(found) != 0 {
		t.Error("the message was stored")
	}
	equal(t, "mailbox", len(waiting(t, s, m.MeshID, "s/a")), 1)
	if _, ok, err := s.LastPresence(t.Context(), m.MeshID, id); ok || err != nil {
		t.Errorf("the presence was stored: %v, %v", ok, err)
	}
	equal(t, "delivery", states(t, s, pending), []queue.State{queue.Pending})
}

func testText(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	m, _ := newMesh(t, s)
	for name, text := range map[string][2]string{
		"plain":     {"a", "a"},
		"unicode":   {"Grüße, 世界 🦊\u200d\u202e é́", "Grüße, 世界 🦊\u200d\u202e é́"},
		"quotes":    {`'"; DROP TABLE messages; -- \ % _ $1 ?`, `'"; DROP TABLE messages; -- \ % _ $1 ?`},
		"controls":  {"\x01\x1b[31m\r\n\t\x7f", "\x01\x1b[31m\r\n\t\x7f"},
		"NUL":       {"a\x00b\x00", "a\uFFFDb\uFFFD"},
		"not UTF-8": {"x\xff\xfey\xc3", "x\uFFFDy\uFFFD"},
	} {
		in, out := text[0], text[1]
		msg := message(m.ID, "d/"+in)
		msg.SenderName, msg.TargetSpec, msg.ClientID, msg.Fingerprint, msg.Topic, msg.ReplyTo = in, in, "c"+in, in, in, in
		msg.Recipients[0].Name, msg.Nonce, msg.Ciphertext, msg.Mentions = in, in, in, []string{in}
		r := record(m.ID)
		r.Identity, r.Cwd, r.Hostname, r.Summary, r.DisplayName = presence.Identity("d/"+in), in, in, in, in
		joined := member(m.ID)
		joined.DisplayName = in
		v := token(m.ID, 1)
		v.Code = "code" + in
		check(t, s.AddInvite(ctx, v))
		if _, _, err := s.Redeem(ctx, v.ID, joined); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		chain := entries(newID(), audit.Head{}, 1)
		chain[0].Actor = in
		commit(t, s, journal.Batch{Messages: []*queue.Accepted{msg}, Presences: append(b0, r), Audit: chain})

		list := waiting(t, s, m.ID, "d/"+in)
		if len(list) != 1 {
			t.Fatalf("%s: %d messages wait", name, len(list))
		}
		got := list[0].Message
		equal(t, name, []string{got.SenderName, got.TargetSpec, got.ClientID, got.Fingerprint, got.Topic, got.ReplyTo, got.Nonce, got.Ciphertext},
			[]string{out, out, "c" + out, out, out, out, out, out})
		equal(t, name+": resent", duplicates(t, s, resend(msg)), []journal.Duplicate{{Index: 0, Original: msg.ID}})
		seen, ok := lastPresence(t, s, r)
		equal(t, name+": presence", []any{ok, seen.Identity, seen.Cwd, seen.Hostname, seen.Summary, seen.DisplayName},
			[]any{true, presence.Identity("d/" + out), out, out, out, out})
		equal(t, name+": code", must[mesh.Invite](t)(s.InviteByCode(ctx, "code"+in)).Code, "code"+out)
		equal(t, name+": actor", must[[]audit.Entry](t)(s.AuditEntries(ctx, chain[0].MeshID, 0, 1))[0].Actor, out)
		commit(t, s, journal.Batch{Closed: []queue.Closing{{Mailbox: msg.Recipients[0].Mailbox, At: now, Upto: math.MaxInt64}}})
		equal(t, name+": after closing", len(waiting(t, s, m.ID, "d/"+in)), 0)
	}
	_, members := loadMesh(t, s, m.ID)
	equal(t, "members", len(members), 7)
}

func testLargeBodies(t *testing.T, db Database) {
	s := ready(t, db)
	list := messages(newID(), 3, "s/a")
	for i, m := range list {
		m.Ciphertext = repeat(fmt.Sprintf("%07d=", i), 4<<20/8)
	}
	commit(t, s, journal.Batch{Messages: list})
	for i, w := range waiting(t, s, list[0].MeshID, "s/a") {
		if w.Message.Ciphertext != list[i].Ciphertext {
			t.Errorf("body %d of %d bytes came back different", i, len(list[i].Ciphertext))
		}
	}
	commit(t, s, journal.Batch{Settled: []queue.Settlement{settle(list[1], 0, queue.Delivered)}})
	wantBodies(t, db, "2")
}

func testPersistence(t *testing.T, db Database) {
	s := db.Open(t)
	check(t, s.Migrate(t.Context()))
	m, owner := newMesh(t, s)
	v := token(m.ID, 1)
	check(t, s.AddInvite(t.Context(), v))
	msg, r, chain := message(m.ID, "s/a"), record(m.ID), entries(m.ID, audit.Head{}, 2)
	msg.ClientID = "intent"
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{msg}, Presences: append(b0, r), Audit: chain})
	check(t, s.Close())

	s = ready(t, db)
	got, members := loadMesh(t, s, m.ID)
	equal(t, "mesh", got, m)
	equal(t, "members", members, []mesh.Member{owner})
	equal(t, "invite", must[mesh.Invite](t)(s.InviteByToken(t.Context(), v.TokenHash)), v)
	equal(t, "message", waiting(t, s, m.ID, "s/a")[0].Message, msg.Message)
	seen, _ := lastPresence(t, s, r)
	equal(t, "presence", seen, r)
	equal(t, "entries", must[[]audit.Entry](t)(s.AuditEntries(t.Context(), m.ID, 0, 10)), chain)
	equal(t, "head", must[audit.Head](t)(s.AuditHead(t.Context(), m.ID)), audit.Head{Seq: 2, Hash: chain[1].Hash})
	equal(t, "mark", must[queue.Mark](t)(s.Mark(t.Context(), m.ID)), queue.Mark{Seq: msg.Recipients[0].Seq, Message: msg.ID})
	equal(t, "duplicate", duplicates(t, s, resend(msg)), []journal.Duplicate{{Index: 0, Original: msg.ID}})
}

// testCheck pings a store, which must leave nothing behind.
func testCheck(t *testing.T, db Database) {
	s := ready(t, db)
	msg := message(newID(), "s/a")
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{msg}})
	for range 3 {
		check(t, s.Ping(t.Context()))
	}
	check(t, s.Close())
	s = ready(t, db)
	check(t, s.Ping(t.Context()))
	equal(t, "mark", must[queue.Mark](t)(s.Mark(t.Context(), msg.MeshID)), queue.Mark{Seq: msg.Recipients[0].Seq, Message: msg.ID})
	equal(t, "audit logs", len(must[[]audit.Log](t)(s.AuditLogs(t.Context()))), 0)
	equal(t, "waiting", len(waiting(t, s, msg.MeshID, "s/a")), 1)
}

func testClaim(t *testing.T, db Database) {
	ctx := eventually(t)
	a, b := ready(t, db), db.Open(t)
	check(t, a.Claim(ctx))
	check(t, a.Claim(ctx)) // a has the claim already
	if err := b.Claim(ctx); !errors.Is(err, storage.ErrInUse) {
		t.Fatalf("a second claim: %v", err)
	}
	commit(t, a, journal.Batch{Messages: messages(newID(), 1, "s/a")})
	check(t, a.Ping(ctx))
	check(t, b.Close())

	c := ready(t, db)
	if err := c.Claim(ctx); !errors.Is(err, storage.ErrInUse) {
		t.Fatalf("a claim after another broker's claim failed: %v", err)
	}
	d := db.Open(t)
	check(t, d.Migrate(ctx)) // does not depend on the claim
	check(t, d.Close())
	commit(t, a, journal.Batch{Messages: messages(newID(), 1, "s/a")})
}

func testClaimFirst(t *testing.T, db Database) {
	ctx := eventually(t)
	a := db.Open(t)
	check(t, a.Claim(ctx))
	check(t, a.Migrate(ctx))
	commit(t, a, journal.Batch{Messages: messages(newID(), 1, "s/a")})
	check(t, a.Close())
	b := ready(t, db) // Close gave the claim up
	check(t, b.Claim(ctx))
	commit(t, b, journal.Batch{Messages: messages(newID(), 1, "s/a")})
}

func testNewerSchema(t *testing.T, db Database) {
	s := ready(t, db)
	known := must[int](t)(s.SchemaVersion(t.Context()))
	db.Exec(t, fmt.Sprintf(`INSERT INTO %sschema_version (version, applied_at) VALUES (%d, 0)`, db.Schema, known+3))
	var newer *storage.NewerSchemaError
	if err := s.Migrate(t.Context()); !errors.As(err, &newer) {
		t.Fatalf("a newer schema: %v", err)
	}
	equal(t, "error", *newer, storage.NewerSchemaError{Found: known + 3, Known: known})
	equal(t, "version", must[int](t)(s.SchemaVersion(t.Context())), known+3)
}

// Upgrade checks that a database of an older broker keeps its contents and accepts new
// data. db contains testdata/old.sql.
func Upgrade(t *testing.T, db Database) {
	ctx := t.Context()
	s := db.Open(t)
	before := must[int](t)(s.SchemaVersion(ctx))
	check(t, s.Close())
	s = ready(t, db)
	if after := must[int](t)(s.SchemaVersion(ctx)); after <= before {
		t.Errorf("version %d after version %d", after, before)
	}

	// These values are in testdata/old.sql.
	id := func(hex string) wire.ID { return must[wire.ID](t)(wire.ParseID(hex)) }
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	box := queue.Mailbox{Mesh: wire.ID{1}, Name: "s/a"}
	old := queue.Accepted{
		Message: queue.Message{
			ID: id("01900000000070008000000000000001"), MeshID: box.Mesh, SenderMember: wire.ID{2}, SenderName: "Ada",
			TargetSpec: "@all", Priority: wire.Now, CreatedAt: at(1_900_000_000_123), ClientID: "intent", Fingerprint: "fp",
			Mentions: []string{"Zoë"}, BodyVersion: 1,
		},
		Recipients: []queue.Recipient{
			{Seq: 10, Mailbox: box, Name: "to a"},
			{Seq: 11, Mailbox: queue.Mailbox{Mesh: box.Mesh, Name: "s/b"}, Name: "to b", SameMember: true,
				State: queue.Delivered, SettledAt: at(1_900_000_000_999)},
		},
	}
	other := queue.Accepted{
		Message: queue.Message{
			ID: id("01900000000070008000000000000002"), MeshID: box.Mesh, SenderMember: wire.ID{3}, SenderName: "Bob",
			TargetSpec: "x", Priority: wire.Next, CreatedAt: at(1_900_000_000_124), BodyVersion: 1,
		},
		Recipients: []queue.Recipient{{Seq: 12, Mailbox: box, Name: "to a", State: queue.Gone, SettledAt: at(1_900_000_000_999)}},
	}
	equal(t, "messages", must[[]queue.Accepted](t)(s.Find(ctx, box.Mesh, "01900000", 10)), []queue.Accepted{old, other})
	mark := queue.Mark{Seq: 12, Message: other.ID}
	equal(t, "mark", must[queue.Mark](t)(s.Mark(ctx, box.Mesh)), mark)
	equal(t, "sent", must[[]queue.Sent](t)(s.Sent(ctx, box.Mesh, old.SenderMember, 10)),
		[]queue.Sent{{ClientID: "intent", MessageID: old.ID}})
	waits := old.Message
	waits.Nonce, waits.Ciphertext = "bm9uY2U=", "Ym9keQ=="
	for _, urgent := range []bool{false, true} {
		equal(t, "backlog", must[[]queue.Waiting](t)(s.Backlog(ctx, box, 0, urgent, 10)), []queue.Waiting{{Seq: 10, Message: waits}})
	}
	again := resend(&old)
	equal(t, "duplicates", duplicates(t, s, &old, again), []journal.Duplicate{{Index: 1, Original: old.ID}})
	r := presence.Record{MeshID: box.Mesh, Identity: "s/a", ID: wire.ID{4}, MemberID: wire.ID{5}, PID: 7,
		StatusAt: at(1_900_000_000_123), Source: 1, Proven: true, Visible: true, Role: "member", SessionID: "session", Cwd: "/src",
		DisplayName: "Zoë", Hostname: "host", PeerType: "ai", Summary: "reading", Status: wire.Idle}
	for i := range r.SessionKey {
		r.SessionKey[i] = 6
	}
	seen, _ := lastPresence(t, s, r)
	equal(t, "presence", seen, r)

	commit(t, s, journal.Batch{Settled: []queue.Settlement{{Mesh: box.Mesh, Seq: 10, State: queue.Delivered, At: at(1_900_000_001_000)}}})
	equal(t, "states", states(t, s, &old), []queue.State{queue.Delivered, queue.Delivered})
	wantBodies(t, db, "0")
	r.Attestation, r.StatusReason, r.SealedGroups = attestation(r.SessionKey, r.MemberKey), "waiting", true
	put(t, s, r)
	seen, _ = lastPresence(t, s, r)
	equal(t, "presence in its new form", seen, r)
	for must[int](t)(s.Sweep(ctx, now, now, now, 10)) > 0 {
	}
	equal(t, "messages after a sweep", len(must[[]queue.Accepted](t)(s.Find(ctx, box.Mesh, "01900000", 10))), 0)
	equal(t, "mark after a sweep", must[queue.Mark](t)(s.Mark(ctx, box.Mesh)), mark)
}

func testMigrateConcurrently(t *testing.T, db Database) {
	var stores []Store
	for range 5 {
		s := db.Open(t)
		t.Cleanup(func() { check(t, s.Close()) })
		equal(t, "version before", must[int](t)(s.SchemaVersion(t.Context())), 0)
		stores = append(stores, s)
	}
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := ready(t, db)
	if must[int](t)(s.SchemaVersion(t.Context())) == 0 {
		t.Error("the schema was not created")
	}
	check(t, s.Ping(t.Context()))
	newMesh(t, s)
}

func testCanceled(t *testing.T, db Database) {
	s := ready(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := message(newID(), "s/a")
	if _, err := s.Commit(ctx, &journal.Batch{Messages: []*queue.Accepted{m}}); err == nil {
		t.Error("a commit with a canceled context succeeded")
	}
	if _, err := s.Backlog(ctx, m.Recipients[0].Mailbox, 0, false, 1); err == nil {
		t.Error("a query with a canceled context succeeded")
	}
	equal(t, "deliveries", len(waiting(t, s, m.MeshID, "s/a")), 0)
	commit(t, s, journal.Batch{Messages: []*queue.Accepted{m}})
}

func testClosedStore(t *testing.T, db Database) {
	s := db.Open(t)
	check(t, s.Migrate(t.Context()))
	check(t, s.Claim(t.Context()))
	check(t, s.Close())
	if _, err := s.Commit(t.Context(), &journal.Batch{Messages: messages(newID(), 1, "s/a")}); err == nil {
		t.Error("a closed store committed a batch")
	}
	if _, err := s.Mark(t.Context(), newID()); err == nil {
		t.Error("a closed store answered a query")
	}
	if err := s.Ping(t.Context()); err == nil {
		t.Error("a check of a closed store succeeded")
	}
}
