package tests

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestDelivery(t *testing.T) {
	scenariosOnBoth(t, []string{"DELIVERY_LEASE_SECONDS=1", "PRESENCE_LEASE_SECONDS=2"}, []scenario{
		{"redelivery", redelivery},
		{"what counts as acknowledgement", acknowledgement},
		{"backlog in order", backlog},
		{"presence lease", presenceLease},
		{"message_status", messageStatus},
		{"message_status of a group", groupStatus},
	})
}

// redelivery checks that the broker redelivers a push on the live connection, without any
// other event, until the recipient acknowledges it.
func redelivery(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	from, to := m.owner.daemon(t), bob.daemon(t)
	id := from.send(bob.keys.hex, "again and again")
	var last frame
	for range 3 {
		if last = to.await("a push", isMessage); last.str("messageId") != id {
			t.Errorf("got %s, want %s again", last, id)
		}
	}
	to.confirm(last)
	to.sync()
	// After the lease the broker redelivers unacknowledged pushes. It must not redeliver this
	// one.
	mark := from.send(bob.keys.hex, "mark")
	for range 2 {
		if got := to.await("the mark", isMessage); got.str("messageId") != mark {
			t.Errorf("an acknowledged message came again: %s", got)
		}
	}
}

func acknowledgement(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	from, to, other := m.owner.daemon(t), bob.session(t, key), bob.daemon(t)
	id := from.send(key.hex, "x", "client_message_id", "c-1")
	to.await("a push", isMessage)
	for _, c := range []*v1Client{other, from} { // they aren't the recipient
		c.write(frame{"type": "client_ack", "clientMessageId": "c-1", "brokerMessageId": id})
		c.sync()
	}
	for _, f := range []frame{{}, {"clientMessageId": "c-2"}, {"brokerMessageId": "0123456789abcdef0123456789abcdef"}, {"brokerMessageId": "?"}} {
		f["type"] = "client_ack"
		to.write(f)
	}
	to.await("the push again", isMessage)
	if f := to.peek(); slices.ContainsFunc(f, ofType("error")) {
		t.Errorf("client_ack was answered: %v", f)
	}

	forms := []frame{{"clientMessageId": "c-1"}, {"brokerMessageId": id}}
	for i, f := range forms {
		f["type"] = "client_ack"
		if i > 0 {
			id = from.send(key.hex, "y", "client_message_id", "c-3")
			f["brokerMessageId"] = id
		}
		to.write(f)
		to.sync()
		awaitStatus(t, from, id, "delivered")
	}
	// Without a client_message_id, clientMessageId holds the messageId.
	id = from.send(key.hex, "z")
	to.write(frame{"type": "client_ack", "clientMessageId": id})
	awaitStatus(t, from, id, "delivered")
}

// awaitStatus waits until the only recipient of a message has the given status.
func awaitStatus(t *testing.T, c *v1Client, id, status string) frame {
	t.Helper()
	var r frame
	await.Until(t, fmt.Sprintf("message %s is %s", id, status), func() bool {
		r = c.request(frame{"type": "message_status", "messageId": id})
		rows := r.list("recipients")
		return len(rows) == 1 && rows[0].str("status") == status
	})
	return r
}

func backlog(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, carol, key := m.join(t, "bob"), m.join(t, "carol"), newKeys()
	session := bob.session(t, key)
	session.leave()
	senders := []*v1Client{m.owner.daemon(t), carol.daemon(t)}
	const each = 45 // below the sender's burst
	for i := range each {
		for j, c := range senders {
			c.send(key.hex, fmt.Sprintf("%d %d", j, i), "client_message_id", fmt.Sprintf("%d-%d", j, i))
		}
	}
	back := bob.session(t, key)
	for j := range senders {
		senders[j].send(key.hex, fmt.Sprintf("%d %d", j, each))
	}
	next, seen := []int{0, 0}, map[string]bool{}
	for len(seen) < 2*(each+1) {
		got := back.message()
		if seen[got.str("messageId")] {
			continue // redelivered: the lease is short here
		}
		seen[got.str("messageId")] = true
		var from, n int
		if _, err := fmt.Sscan(text(got), &from, &n); err != nil {
			t.Fatal(err)
		}
		if n != next[from] {
			t.Fatalf("message %d of sender %d came, want %d", n, from, next[from])
		}
		next[from]++
	}
}

func presenceLease(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	watching, session := m.owner.daemon(t), bob.session(t, key, "groups", []frame{{"name": "dev"}})
	watching.await("peer_joined", isEvent("peer_joined"))
	id := session.ack.str("presenceId")
	session.drop()
	await.Until(t, "the roster shows the session as away", func() bool {
		row := watching.row(sessionID(key))
		return row != nil && row["online"] == false
	})
	watching.send("@dev", "while you were away")
	back := bob.session(t, key)
	if got := back.ack.str("presenceId"); got != id {
		t.Errorf("presence %s, was %s", got, id)
	}
	if got := text(back.message()); got != "while you were away" {
		t.Errorf("got %q", got)
	}
	watching.none("news of a short absence", func(f frame) bool { return f.str("subtype") == "system" })

	back.drop()
	dropped := time.Now()
	left := watching.await("peer_left", isEvent("peer_left"))
	if after := time.Since(dropped); after < 1900*time.Millisecond {
		t.Errorf("the lease ended after %s, want 2 s", after)
	}
	if data := frame(left["eventData"].(map[string]any)); data.str("pubkey") != key.hex {
		t.Errorf("peer_left: %s", left)
	}
	if watching.row(sessionID(key)) != nil {
		t.Error("still in the roster")
	}
	again := bob.session(t, key)
	returned := watching.await("peer_returned", isEvent("peer_returned"))
	if data := frame(returned["eventData"].(map[string]any)); data.str("pubkey") != key.hex || !isKind(data["lastSeenAt"], "time") || !isKind(data["groups"], "list") {
		t.Errorf("peer_returned: %s", returned)
	}
	again.leave()
	watching.await("peer_left", isEvent("peer_left"))
}

func messageStatus(t *testing.T, s *server) {
	m := newTeam(t, s)
	alice, bob, carol := m.join(t, "alice"), m.join(t, "bob"), m.join(t, "carol")
	from := alice.daemon(t)
	id := from.send(bob.keys.hex, "x")
	r := awaitStatus(t, from, id, "disconnected")
	row := r.list("recipients")[0]
	if r["delivered"] != false || r["deliveredAt"] != nil || r.str("targetSpec") != bob.keys.hex || row.str("name") != "bob" || row.str("pubkey") != bob.keys.hex {
		t.Errorf("status: %s", r)
	}
	if _, there := r["deliveredAt"]; !there {
		t.Errorf("deliveredAt is missing or not null: %s", r)
	}
	to := bob.daemon(t)
	awaitStatus(t, from, id, "held")
	to.message()
	if r = awaitStatus(t, from, id, "delivered"); r["delivered"] != true || !isKind(r["deliveredAt"], "time") {
		t.Errorf("status: %s", r)
	}

	status := func(c *v1Client, id string) frame {
		return c.request(frame{"type": "message_status", "messageId": id})
	}
	session := alice.session(t, newKeys())
	for what, c := range map[string]*v1Client{"the sender's session": session, "the owner": m.owner.daemon(t)} {
		if r := status(c, id); r.str("messageId") != id {
			t.Errorf("%s: %s", what, r)
		}
	}
	for what, c := range map[string]*v1Client{"the recipient": to, "a stranger": carol.daemon(t)} {
		if r := status(c, id); r.str("code") != "not_found" || r.str("message") != "message not found" {
			t.Errorf("%s: %s", what, r)
		}
	}
	if r := status(from, id[:31]); r.str("messageId") != id {
		t.Errorf("by prefix: %s", r)
	}
	// An id begins with the time, to 65 s: the prefixes of two neighbors may differ.
	second, third := from.send(bob.keys.hex, "y"), from.send(bob.keys.hex, "z")
	prefix := second[:8]
	if id[:8] != prefix && third[:8] != prefix {
		t.Fatalf("no two of %s, %s and %s have the same prefix", id, second, third)
	}
	if r := status(from, prefix); r.str("code") != "ambiguous_prefix" {
		t.Errorf("by a prefix of two: %s", r)
	}
	for bad, n := range map[string]int{"abc": 3, id + "0": 33, "": 0} {
		want := fmt.Sprintf("messageId must be 8-32 base62 chars (got %d)", n)
		if r := status(from, bad); r.str("code") != "invalid_argument" || r.str("message") != want {
			t.Errorf("%q: %s", bad, r)
		}
	}
	if r := status(from, "%%%%%%%%%%"); r.str("code") != "invalid_argument" {
		t.Errorf("an id that is not base62: got %s", r)
	}
	if r := status(from, "ZZZZZZZZZZ"); r.str("code") != "not_found" {
		t.Errorf("unknown: %s", r)
	}
}

func groupStatus(t *testing.T, s *server) {
	m := newTeam(t, s)
	from := m.owner.daemon(t)
	a, b := m.join(t, "a").daemon(t), m.join(t, "b").daemon(t)
	id := from.send("*", "x")
	status := func() frame { return from.request(frame{"type": "message_status", "messageId": id}) }
	a.message()
	await.Until(t, "one of two recipients has the message", func() bool {
		n := 0
		for _, row := range status().list("recipients") {
			if row.str("status") == "delivered" {
				n++
			}
		}
		return n == 1
	})
	if r := status(); r["delivered"] != false || r.str("targetSpec") != "*" || len(r.list("recipients")) != 2 {
		t.Errorf("status: %s", r)
	}
	b.message()
	await.Until(t, "both recipients have the message", func() bool { return status()["delivered"] == true })
}
