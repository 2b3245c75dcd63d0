package broker_test

import (
	"encoding/json"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// succession is old's word that next goes on in its place.
func succession(m member, old, next identity.KeyPair) frame {
	return frame{
		"sessionPubkey": old.Public().String(),
		"signature":     identity.SignSuccession(old, m.mesh, next.Public()).String(),
	}
}

func TestSuccession(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	owner := s.owner()
	guest := s.join(owner)
	a, o, n := newKeys(t), newKeys(t), newKeys(t)
	alice := s.session(owner, a, "alice")
	old := s.session(guest, o, "old")
	alice.news(1)
	alice.tell(1, o.Public()) // pushed, and not acknowledged
	old.next("push")

	next := s.session(guest, n, "next", succession(guest, o, n))
	if reason := old.closed(); reason != wire.ReasonReplaced {
		t.Fatalf("the old session was closed as %q", reason)
	}
	next.gets(1)
	if news := alice.news(2); !slices.Equal(news, []string{"peer_left old", "peer_joined next"}) {
		t.Fatalf("the others heard %v", news)
	}
	alice.wantPeers("alice", "next")
	alice.tell(2, o.Public())
	alice.tell(3, n.Public())
	alice.tell(4, o.Public())
	got := map[any]int{}
	for range 3 {
		push := next.next("push")
		got[push["client_message_id"]]++
		next.send(frame{"type": "client_ack", "brokerMessageId": push["messageId"]})
	}
	if got["m2"] != 1 || got["m3"] != 1 || got["m4"] != 1 {
		t.Fatalf("got %v", got)
	}
	for i := range 4 {
		alice.delivered(i + 1)
	}
	next.send(message(9, o.Public(), 10))
	if ack := next.next("ack"); ack["queued"] != false {
		t.Fatalf("a message to one's own old key: %v", ack)
	}
}

// The successor hears neither of its own coming nor of the old session's going.
func TestSuccessorHearsNothingOfItself(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	s.session(m, o, "old")
	next := s.session(m, n, "next", succession(m, o, n))
	s.session(m, newKeys(t), "third")
	if news := next.news(1); news[0] != "peer_joined third" {
		t.Fatalf("the successor heard %v", news)
	}
}

// A hello without the list gives the old mailbox up, to another who succeeds the
// same session.
func TestSuccessionIsGivenUp(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n1, n2 := newKeys(t), newKeys(t), newKeys(t)
	alice := s.session(m, newKeys(t), "alice")
	old := s.session(m, o, "old")
	one := s.session(m, n1, "one", succession(m, o, n1))
	old.closed()
	two := s.session(m, n2, "two", succession(m, o, n2))
	alice.tell(1, o.Public())
	two.gets(1)
	alice.delivered(1)
	s.session(m, n2, "two")
	alice.tell(2, o.Public())
	one.gets(2)
}

// The gate of the successor's status holds for what is addressed to the old key.
func TestSuccessionGate(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	alice := s.session(m, newKeys(t), "alice")
	s.session(m, o, "old")
	next := s.session(m, n, "next", succession(m, o, n))
	next.send(frame{"type": "set_status", "status": "working"})
	next.peers() // the status is set
	low := message(1, o.Public(), 100)
	low["priority"] = "low"
	alice.send(low)
	alice.next("ack")
	alice.tell(2, o.Public())
	next.gets(2)
	next.send(frame{"type": "set_status", "status": "idle"})
	next.gets(1)
}

// Nobody takes the mailbox of a key that has not signed it over, or that is not
// its own member's; and the session is let in all the same.
func TestSuccessionMustBeProven(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	owner := s.owner()
	guest := s.join(owner)
	o, other, n := newKeys(t), newKeys(t), newKeys(t)
	alice, stranger := s.session(owner, newKeys(t), "alice"), s.session(owner, other, "stranger")
	old := s.session(guest, o, "old")
	foreignMesh := guest
	foreignMesh.mesh = "0123456789ab70008000000000000000"
	forged := succession(guest, o, n)
	forged["signature"] = identity.SignSuccession(n, guest.mesh, n.Public()).String()
	unknown := newKeys(t)
	next := s.session(guest, n, "next",
		forged, succession(foreignMesh, o, n), succession(guest, o, other), succession(guest, other, n),
		succession(guest, unknown, n), succession(guest, n, n), frame{"sessionPubkey": "x", "signature": "y"})
	alice.wantPeers("alice", "stranger", "old", "next")
	alice.tell(1, o.Public())
	old.gets(1)
	alice.tell(2, other.Public())
	stranger.gets(2)
	alice.tell(3, n.Public())
	next.gets(3)
	alice.send(message(4, unknown.Public(), 10))
	if ack := alice.next("ack"); ack["queued"] != false {
		t.Fatalf("a key that nobody proved: %v", ack)
	}
}

// Who succeeds makes no second entry in a mesh that is full.
func TestSuccessionNeedsNoPlace(t *testing.T) {
	t.Parallel()
	s := start(t, func(s *broker.Settings) { s.MaxConnectionsPerMesh = 1 })
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	s.session(m, o, "old")
	c := s.dial()
	c.send(sessionHello(m, n, "next"))
	if e := c.next("error"); e["code"] != string(wire.CodeCapacity) {
		t.Fatalf("%v", e)
	}
	next := s.session(m, n, "next", succession(m, o, n))
	next.wantPeers("next")
}

// A hello that was stopped halfway has left the key of a session that never was here:
// who comes under it goes on for the old session all the same.
func TestSuccessionAfterHalfAHello(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	old := s.session(m, o, "old")
	old.send(frame{"type": "set_status", "status": "dnd"})
	old.send(frame{"type": "set_visible", "visible": false})
	old.next("ack")
	meshID, err := wire.ParseID(m.mesh)
	if err != nil {
		t.Fatal(err)
	}
	memberID, err := wire.ParseID(m.member)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	if _, err := s.store.Commit(t.Context(), &journal.Batch{Presences: []presence.Record{{
		MeshID: meshID, Identity: presence.SessionIdentity(n.Public()), ID: wire.ID{1}, MemberID: memberID, MemberKey: m.keys.Public(),
		SessionKey: n.Public(), Proven: true, Role: wire.RoleSession, DisplayName: "next", Status: wire.Idle, Source: presence.JSONL,
		StatusAt: now, Visible: true, ConnectedAt: now, LastSeenAt: now, EndedAt: now,
	}}}); err != nil {
		t.Fatal(err)
	}
	next := s.session(m, n, "next", succession(m, o, n))
	if row := next.peers()["next"]; row["status"] != "dnd" || row["visible"] != false {
		t.Errorf("%v", row)
	}
}

// The old session takes its mailbox back when it comes back itself, keeps it when
// its successor repeats the list, and leaves it to the successor when it goes.
func TestOldSessionComesBack(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	word := succession(m, o, n)
	alice := s.session(m, newKeys(t), "alice")
	s.session(m, o, "old")
	next := s.session(m, n, "next", word)
	old := s.session(m, o, "old")
	alice.tell(1, o.Public())
	old.gets(1)
	again := s.session(m, n, "next", word)
	if reason := next.closed(); reason != wire.ReasonReplaced {
		t.Fatalf("closed as %q", reason)
	}
	alice.wantPeers("alice", "old", "next")
	alice.tell(2, o.Public())
	old.gets(2)
	alice.tell(3, o.Public()) // is not acknowledged
	old.next("push")
	if err := old.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	again.gets(3)
	alice.tell(4, o.Public())
	again.gets(4)
	for _, i := range []int{1, 2, 3, 4} {
		alice.delivered(i)
	}
	alice.wantPeers("alice", "next")
}

// So it is when the old session is lost and its lease runs out.
func TestOldSessionIsLostAgain(t *testing.T) {
	t.Parallel()
	s := start(t, func(s *broker.Settings) { s.PresenceLease = time.Second })
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	alice := s.session(m, newKeys(t), "alice")
	first := s.session(m, o, "old")
	next := s.session(m, n, "next", succession(m, o, n))
	first.closed()
	old := s.session(m, o, "old")
	_ = old.ws.CloseNow()
	alice.tell(1, o.Public())
	next.gets(1)
	alice.wantPeers("alice", "next")
}

// A client hears that it has caught up when the mailboxes of the sessions before it
// have been pushed too, and not again when it gets another one later.
func TestCaughtUpCountsOldMailboxes(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	alice := s.session(m, newKeys(t), "alice")
	if err := s.session(m, o, "old").ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	alice.news(2)
	for i := range 20 {
		alice.tell(i, o.Public())
	}
	next := s.dial()
	hello := sessionHello(m, n, "next", succession(m, o, n))
	hello["capabilities"] = []string{wire.CapCaughtUp}
	next.send(hello)
	next.next("hello_ack")
	next.gets(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19)
	next.next("caught_up")
	alice.delivered(19) // or what is not acknowledged yet would come again
	old := s.session(m, o, "old")
	if err := old.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	alice.tell(20, o.Public())
	next.gets(20) // with no caught_up before it
}

// A removed member's successors are gone like all its sessions.
func TestRemovedMemberHasNoHeirs(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	owner := s.owner()
	guest := s.join(owner)
	o, n := newKeys(t), newKeys(t)
	alice := s.session(owner, newKeys(t), "alice")
	s.session(guest, o, "old")
	next := s.session(guest, n, "next", succession(guest, o, n))
	alice.send(frame{"type": "member_remove", "pubkey": guest.keys.Public().String(), "_reqId": "r"})
	alice.next("ack")
	if reason := next.closed(); reason != wire.ReasonBanned {
		t.Fatalf("closed as %q", reason)
	}
	alice.wantPeers("alice")
	for i, key := range []wire.Key{o.Public(), n.Public()} {
		alice.send(message(i, key, 10))
		if ack := alice.next("ack"); ack["queued"] != false {
			t.Fatalf("%v", ack)
		}
	}
}

// A successor that is away is waited for; without the list it has no claim.
func TestSuccessorReconnects(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	word := succession(m, o, n)
	alice := s.session(m, newKeys(t), "alice")
	s.session(m, o, "old")
	next := s.session(m, n, "next", word)
	_ = next.ws.CloseNow() // is leased
	for alice.peers()["next"]["online"] != false {
		runtime.Gosched()
	}
	alice.tell(1, o.Public())
	alice.tell(2, n.Public())
	bare := s.session(m, n, "next")
	bare.gets(2)
	alice.tell(3, n.Public())
	bare.gets(3) // and not 1
	alice.delivered(2)
	alice.delivered(3)
	next = s.session(m, n, "next", word)
	next.gets(1)
	bare.closed()
}

// An old key that only the storage knows is succeeded too, and what waits for it
// there is delivered.
func TestSuccessionAfterRestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "broker.db")
	var m member
	a, o, oldest, n := newKeys(t), newKeys(t), newKeys(t), newKeys(t)
	t.Run("before", func(t *testing.T) {
		s := startAt(t, path, nil)
		m = s.owner()
		alice := s.session(m, a, "alice")
		gone := s.session(m, oldest, "oldest")
		if err := gone.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Fatal(err)
		}
		alice.news(2)
		s.session(m, o, "old")
		alice.tell(1, o.Public())
		alice.tell(2, oldest.Public())
		alice.tell(3, o.Public())
	})
	s := startAt(t, path, nil)
	alice := s.session(m, a, "alice")
	alice.wantPeers("alice", "old") // which is leased
	next := s.session(m, n, "next", succession(m, o, n), succession(m, oldest, n))
	alice.wantPeers("alice", "next")
	var ofOld []any
	seen := map[any]bool{}
	for range 3 {
		push := next.next("push")
		seen[push["client_message_id"]] = true
		if push["client_message_id"] != "m2" {
			ofOld = append(ofOld, push["client_message_id"])
		}
		next.send(frame{"type": "client_ack", "brokerMessageId": push["messageId"]})
	}
	if !seen["m2"] || len(ofOld) != 2 || ofOld[0] != "m1" {
		t.Fatalf("got %v, of the old session %v", seen, ofOld)
	}
	for i := range 3 {
		alice.delivered(i + 1)
	}
}

// What the user has set for the old session stays set, what was said of the old
// conversation does not.
func TestSuccessorInherits(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	old := s.session(m, o, "old")
	old.send(frame{"type": "set_status", "status": "dnd", "reason": "lunch"})
	old.send(frame{"type": "set_summary", "summary": "of the old conversation"})
	old.send(frame{"type": "join_group", "name": "dev"})
	old.send(frame{"type": "set_visible", "visible": false})
	old.next("ack")
	next := s.session(m, n, "next", succession(m, o, n))
	row := next.peers()["next"]
	groups, _ := json.Marshal(row["groups"])
	if row["status"] != "dnd" || row["statusReason"] != "lunch" || row["visible"] != false || row["summary"] != nil ||
		string(groups) != `[{"name":"dev"}]` {
		t.Fatalf("%v", row)
	}
}
