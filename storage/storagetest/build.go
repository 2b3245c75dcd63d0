package storagetest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/wire"
)

// now is the current time of every operation in the suite.
var now = time.Date(2031, 5, 17, 12, 30, 45, 678_000_000, time.UTC)

var ids wire.IDSource

func newID() wire.ID { return ids.New(now) }

var keys atomic.Uint64

// newKey returns a new unique key.
func newKey() (k wire.Key) {
	binary.BigEndian.PutUint64(k[:], rand.Uint64()|1)
	binary.BigEndian.PutUint64(k[24:], keys.Add(1))
	return k
}

// ready opens and migrates a database for the duration of the test.
func ready(t testing.TB, db Database) Store {
	t.Helper()
	s := db.Open(t)
	t.Cleanup(func() { check(t, s.Close()) })
	check(t, s.Migrate(t.Context()))
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal compares two values and shows both if they differ.
func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// must returns v, or ends the test.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		check(t, err)
		return v
	}
}

// commit commits a batch that must be stored without duplicates.
func commit(t testing.TB, s Store, b journal.Batch) {
	t.Helper()
	if dups := must[[]journal.Duplicate](t)(s.Commit(t.Context(), &b)); len(dups) != 0 {
		t.Fatalf("duplicates: %v", dups)
	}
}

// newMesh stores a mesh with its owner.
func newMesh(t testing.TB, s Store) (mesh.Mesh, mesh.Member) {
	t.Helper()
	m := mesh.Mesh{ID: newID(), Slug: "team-a", Name: "Team Ä", Owner: newKey(), CreatedAt: now}
	owner := member(m.ID)
	owner.Key, owner.Role = m.Owner, mesh.Owner
	check(t, s.CreateMesh(t.Context(), m, owner))
	return m, owner
}

func member(meshID wire.ID) mesh.Member {
	return mesh.Member{ID: newID(), MeshID: meshID, Key: newKey(), DisplayName: "Zoë", Role: mesh.Normal, JoinedAt: now}
}

func token(meshID wire.ID, uses int64) mesh.Invite {
	v := mesh.Invite{ID: newID(), MeshID: meshID, Kind: mesh.Token, Role: mesh.Normal, Uses: uses,
		ExpiresAt: now.Add(time.Hour), CreatedAt: now, CreatedBy: newID()}
	v.TokenHash = newKey()
	return v
}

var seqs atomic.Int64

// message makes a message to mailboxes of its mesh, without a client id.
func message(meshID wire.ID, boxes ...string) *queue.Accepted {
	m := &queue.Accepted{Message: queue.Message{
		ID: newID(), MeshID: meshID, SenderMember: newID(), SenderMemberKey: newKey(), SenderKey: newKey(),
		SenderName: "Ada", TargetSpec: "@all", Priority: wire.Next, Nonce: "bm9uY2U=", Ciphertext: "Y2lwaGVydGV4dA==",
		CreatedAt: now,
	}}
	for _, box := range boxes {
		m.Recipients = append(m.Recipients, queue.Recipient{Seq: seqs.Add(1),
			Mailbox: queue.Mailbox{Mesh: meshID, Name: box}, Key: newKey(), Name: "to " + box})
	}
	return m
}

// messages makes n messages to one mailbox.
func messages(meshID wire.ID, n int, box string) []*queue.Accepted {
	list := make([]*queue.Accepted, n)
	for i := range list {
		list[i] = message(meshID, box)
	}
	return list
}

// waiting reads a whole mailbox.
func waiting(t testing.TB, s Store, meshID wire.ID, box string) []queue.Waiting {
	t.Helper()
	return must[[]queue.Waiting](t)(s.Backlog(t.Context(), queue.Mailbox{Mesh: meshID, Name: box}, 0, false, 1_000_000))
}

// find reads one message back by its id.
func find(t testing.TB, s Store, m *queue.Accepted) queue.Accepted {
	t.Helper()
	found := must[[]queue.Accepted](t)(s.Find(t.Context(), m.MeshID, m.ID.String(), 10))
	if len(found) != 1 {
		t.Fatalf("found %d messages with id %s", len(found), m.ID)
	}
	return found[0]
}

// bodyIn returns the body of a message as a mailbox shows it, or "".
func bodyIn(t testing.TB, s Store, m *queue.Accepted, box string) string {
	t.Helper()
	for _, w := range waiting(t, s, m.MeshID, box) {
		if w.Message.ID == m.ID {
			return w.Message.Ciphertext
		}
	}
	return ""
}

// settle returns the settlement of one recipient of a message.
func settle(m *queue.Accepted, i int, state queue.State) queue.Settlement {
	return queue.Settlement{Mesh: m.MeshID, Seq: m.Recipients[i].Seq, State: state, At: now.Add(time.Second)}
}

// entries makes the next n entries of a chain. Their hashes don't matter here, as long as
// they differ.
func entries(meshID wire.ID, after audit.Head, n int) []audit.Entry {
	list := make([]audit.Entry, n)
	for i := range list {
		list[i] = audit.Entry{
			Event: audit.Event{MeshID: meshID, At: now.Add(time.Duration(i) * time.Millisecond), Kind: audit.Routed,
				Actor: newID().String(), Detail: fmt.Sprintf(`{"n":%d}`, i)},
			Seq: after.Seq + 1, Prev: after.Hash, Hash: audit.Hash(newKey()),
		}
		after = audit.Head{Seq: list[i].Seq, Hash: list[i].Hash}
	}
	return list
}

// record makes a full presence of a proven session.
func record(meshID wire.ID) presence.Record {
	session := newKey()
	r := presence.Record{
		MeshID: meshID, Identity: presence.SessionIdentity(session), ID: newID(), MemberID: newID(), MemberKey: newKey(),
		SessionKey: session, Proven: true, Role: wire.RoleSession, SessionID: "session-1", PID: 4242, Cwd: "/home/zoë/src",
		DisplayName: "Zoë 🦊", Hostname: "büro", PeerType: "ai", Channel: "claudemesh-session", Model: "opus",
		Groups:  []wire.Group{{Name: "dev", Role: "lead"}, {Name: "ops/night"}},
		Summary: "reading\ncode", Status: wire.Working, Source: presence.Hook, StatusAt: now.Add(-time.Second), Visible: true,
		Profile: &wire.Profile{Avatar: "🦊", Title: "fox", Bio: "…", Capabilities: []string{"go", "sql"}},
		Stats:   []byte(`{"tokens": 12345678901234567890, "a":[1, 2.50]}`), ConnectedAt: now.Add(-time.Minute), LastSeenAt: now,
	}
	r.StatusReason, r.Attestation, r.SealedGroups = "waiting ⏳", attestation(r.SessionKey, r.MemberKey), true
	return r
}

// attestation makes an unsigned attestation, because nothing here verifies it.
func attestation(session, member wire.Key) *wire.Attestation {
	return &wire.Attestation{
		SessionPubkey: session.String(), ParentMemberPubkey: member.String(), ExpiresAt: now.Add(time.Hour).UnixMilli(),
		Signature: newKey().String() + newKey().String(),
	}
}

func lastPresence(t testing.TB, s Store, r presence.Record) (presence.Record, bool) {
	t.Helper()
	got, ok, err := s.LastPresence(t.Context(), r.MeshID, r.Identity)
	check(t, err)
	return got, ok
}

// eventually returns a context for operations that must not take long.
func eventually(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	t.Cleanup(cancel)
	return ctx
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }
