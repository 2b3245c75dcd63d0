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

// succession is old's signed statement that next succeeds it.
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
		t.Fatalf("the old session was closed as %q, want %q", reason, wire.ReasonReplaced)
	}
	next.gets(1)
	if news := alice.news(2); !slices.Equal(news, []string{"peer_left old", "peer_joined next"}) {
		t.Fatalf("the others got news %v, want peer_left old and peer_joined next", news)
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
		t.Fatalf("got messages %v, want m2, m3 and m4 once each", got)
	}
	for i := range 4 {
		alice.delivered(i + 1)
	}
	next.send(message(9, o.Public(), 10))
	if ack := next.next("ack"); ack["queued"] != false {
		t.Fatalf("a message to the sender's own old key: got ack %v, want it refused", ack)
	}
}

// TestSuccessorHearsNothingOfItself checks that the successor is not told that it joined
// or that the old session left.
func TestSuccessorHearsNothingOfItself(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	s.session(m, o, "old")
	next := s.session(m, n, "next", succession(m, o, n))
	s.session(m, newKeys(t), "third")
	if news := next.news(1); news[0] != "peer_joined third" {
		t.Fatalf("the successor got news %v, want peer_joined third", news)
	}
}

// TestSuccessionIsGivenUp checks that a successor whose next hello does not list the old
// session gives up its mailbox to another successor of the same session.
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

// TestSuccessionGate checks that the gate of the successor's status also holds back
// messages addressed to the old key.
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

// TestSuccessionMustBeProven checks that a session does not get the mailbox of a key that
// has not signed the succession or belongs to another member. The broker accepts the
// session itself all the same.
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
		t.Fatalf("a message to a key that nobody proved: got ack %v, want it refused", ack)
	}
}

// TestSuccessionNeedsNoPlace checks that a successor can join a full mesh, because it
// takes the place of the old session.
func TestSuccessionNeedsNoPlace(t *testing.T) {
	t.Parallel()
	s := start(t, func(s *broker.Settings) { s.MaxConnectionsPerMesh = 1 })
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	s.session(m, o, "old")
	c := s.dial()
	c.send(sessionHello(m, n, "next"))
	if e := c.next("error"); e["code"] != string(wire.CodeCapacity) {
		t.Fatalf("got %v, want error %s", e, wire.CodeCapacity)
	}
	next := s.session(m, n, "next", succession(m, o, n))
	next.wantPeers("next")
}

// TestSuccessionAfterHalfAHello checks that a session inherits from the old one even if an
// earlier hello of it, stopped halfway, left its key in the storage.
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
		t.Errorf("got row %v, want dnd and not visible", row)
	}
}

// TestOldSessionComesBack checks that an old session that comes back takes its mailbox
// back, keeps it when its successor repeats the list, and leaves it to the successor when
// it ends.
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
		t.Fatalf("closed as %q, want %q", reason, wire.ReasonReplaced)
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

// TestOldSessionIsLostAgain checks that the successor gets the mailbox back when the lease
// of the old session runs out.
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

// TestCaughtUpCountsOldMailboxes checks that a client gets caught_up after the mailboxes of
// the sessions that it succeeds have been pushed too, and not again when it takes over
// another mailbox later.
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
	alice.delivered(19) // otherwise unacknowledged messages would come again
	old := s.session(m, o, "old")
	if err := old.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	alice.tell(20, o.Public())
	next.gets(20) // without a caught_up before it
}

// TestRemovedMemberHasNoHeirs checks that a removed member's successors are gone like all
// its sessions.
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
		t.Fatalf("closed as %q, want %q", reason, wire.ReasonBanned)
	}
	alice.wantPeers("alice")
	for i, key := range []wire.Key{o.Public(), n.Public()} {
		alice.send(message(i, key, 10))
		if ack := alice.next("ack"); ack["queued"] != false {
			t.Fatalf("got ack %v, want the message refused", ack)
		}
	}
}

// TestSuccessorReconnects checks that messages to the old key wait for a successor that is
// away, and that it does not get them if its new hello does not list the old session.
func TestSuccessorReconnects(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	o, n := newKeys(t), newKeys(t)
	word := succession(m, o, n)
	alice := s.session(m, newKeys(t), "alice")
	s.session(m, o, "old")
	next := s.session(m, n, "next", word)
	_ = next.ws.CloseNow() // its presence is leased
	for alice.peers()["next"]["online"] != false {
		runtime.Gosched()
	}
	alice.tell(1, o.Public())
	alice.tell(2, n.Public())
	bare := s.session(m, n, "next")
	bare.gets(2)
	alice.tell(3, n.Public())
	bare.gets(3) // without message 1 before it
	alice.delivered(2)
	alice.delivered(3)
	next = s.session(m, n, "next", word)
	next.gets(1)
	bare.closed()
}

// TestSuccessionAfterRestart checks that a session can succeed an old key that only the
// storage knows, and gets the messages that wait for it there.
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
	alice.wantPeers("alice", "old") // old is leased
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
		t.Fatalf("got messages %v, those of the old session in order %v; want m1 to m3, with m1 before m3", seen, ofOld)
	}
	for i := range 3 {
		alice.delivered(i + 1)
	}
}

// TestSuccessorInherits checks that a successor inherits the settings that the user made
// for the old session, but not the summary of the old conversation.
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
		t.Fatalf("got row %v, want dnd for lunch, not visible, in dev and without a summary", row)
	}
}
