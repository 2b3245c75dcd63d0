package tests

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

func TestSend(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"direct message", directMessage},
		{"bad fields", badFields},
		{"sizes", messageSizes},
		{"frame too big", frameTooBig},
		{"unknown targets", unknownTargets},
		{"acks in order", acksInOrder},
		{"frames that can't be served", badFrames},
		{"request ids", requestIDs},
		{"resend", resend},
	})
}

func directMessage(t *testing.T, s *server) {
	m := newTeam(t, s)
	alice, bob := m.join(t, "alice"), m.join(t, "bob")
	key := newKeys()
	from, to := alice.session(t, key), bob.daemon(t)
	id := from.send(bob.keys.hex, "hello", "priority", "low", "client_message_id", "intent-1", "request_fingerprint", "print-1",
		"replyToId", "earlier", "mentions", []string{"bob"}, "bodyVersion", 2)
	got := to.message()
	want := frame{
		"messageId": id, "meshId": m.id, "senderPubkey": key.hex, "senderMemberPubkey": alice.keys.hex, "senderMemberId": alice.id,
		"senderName": "alice", "priority": "low", "client_message_id": "intent-1", "request_fingerprint": "print-1", "replyToId": "earlier",
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s is %v, want %v", name, got[name], v)
		}
	}
	if text(got) != "hello" || got["subtype"] != nil {
		t.Errorf("push: %s", got)
	}
	// The member connection sends under the member key.
	to.send(key.hex, "back")
	if back := from.message(); back.str("senderPubkey") != bob.keys.hex || text(back) != "back" {
		t.Errorf("push: %s", back)
	}
}

func badFields(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	c, watching := m.owner.daemon(t), bob.daemon(t)
	tests := []struct {
		name  string
		value any
	}{
		{"priority", nil}, {"priority", "urgent"}, {"priority", 1}, {"priority", ""},
		{"nonce", nil}, {"nonce", 7}, {"nonce", "***"}, {"nonce", "YQ"}, {"nonce", "YQ-_"},
		{"ciphertext", nil}, {"ciphertext", 7}, {"ciphertext", "***="}, {"ciphertext", "YWI"}, {"ciphertext", []string{"YQ=="}},
		{"targetSpec", nil}, {"targetSpec", 5}, {"targetSpec", []string{}}, {"targetSpec", []int{1}}, {"targetSpec", ""},
		{"targetSpec", "bob"}, {"targetSpec", bob.keys.hex[:16]}, {"targetSpec", strings.ToUpper(bob.keys.hex)},
		{"targetSpec", "@"}, {"targetSpec", "#"}, {"targetSpec", []string{"*", "nobody"}},
		{"client_message_id", 5}, {"client_message_id", strings.Repeat("x", 129)},
		{"mentions", slices.Repeat([]string{"m"}, 17)}, {"mentions", "bob"}, {"replyToId", 5}, {"bodyVersion", "two"},
	}
	for _, test := range tests {
		f := draft(bob.keys.hex, "bad")
		f.set(test.name, test.value)
		if e := c.refused(f); !strings.HasPrefix(e, "invalid: ") {
			t.Errorf("%s = %v: %q", test.name, test.value, e)
		}
	}
	f := draft(bob.keys.hex, "bad", "priority", "urgent")
	delete(f, "id")
	c.write(f)
	if a := c.await("ack", ofType("ack")); a.str("id") != "" || a["queued"] != false {
		t.Errorf("ack of a send without id: %s", a)
	}
	watching.none("a refused message", isMessage)
	c.send(bob.keys.hex, "good")
	watching.message()
}

func messageSizes(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	from, to := m.owner.daemon(t), bob.daemon(t)
	const limit = 65_536
	full := limit - len(bob.keys.hex) - base64.StdEncoding.EncodedLen(24)
	from.send(bob.keys.hex, strings.Repeat("x", full/4*3))
	if got := to.message(); len(got.str("ciphertext")) != full {
		t.Errorf("got %d bytes", len(got.str("ciphertext")))
	}
	if e := from.refused(draft(bob.keys.hex, strings.Repeat("x", full/4*3+1))); !strings.HasPrefix(e, "payload_too_large: 65540 bytes > 65536") || !finalForSessions.MatchString(e) {
		t.Errorf("4 bytes more: %q", e)
	}
	to.none("a message that is too big", isMessage)
}

func frameTooBig(t *testing.T, s *server) {
	m := newTeam(t, s)
	c := m.owner.daemon(t)
	c.writeRaw(websocket.MessageText, `{"type":"set_summary","summary":"s","pad":"`+strings.Repeat("x", 4*65_536-100)+`"}`)
	c.sync()
	c.writeRaw(websocket.MessageText, `{"type":"set_summary","summary":"s","pad":"`+strings.Repeat("x", 4*65_536)+`"}`)
	if code := websocket.CloseStatus(c.awaitEnd()); code != websocket.StatusMessageTooBig {
		t.Errorf("closed with %d", code)
	}
}

func unknownTargets(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	c := bob.session(t, key)
	for _, target := range []any{newKeys().hex, "#general", []string{m.owner.keys.hex, newKeys().hex}} {
		e := c.refused(draft(target, "x"))
		if !strings.HasPrefix(e, "target_not_found: ") || !permanent.MatchString(e) {
			t.Errorf("to %v: %q", target, e)
		}
	}
	if e := c.refused(draft(key.hex, "to myself")); !permanent.MatchString(e) {
		t.Errorf("to one's own session key: %q", e)
	}
	// An absent member is not an error; neither is a group that never had a member.
	c.send(m.owner.keys.hex, "for later")
	c.send("@nobody", "x")
	if got := text(m.owner.daemon(t).message()); got != "for later" {
		t.Errorf("got %q", got)
	}
}

func acksInOrder(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	c := m.owner.daemon(t)
	bob.daemon(t)
	var want []string
	for i := range 60 {
		f := draft(bob.keys.hex, fmt.Sprint(i))
		switch i % 4 {
		case 1:
			f["priority"] = "bad"
		case 2:
			f["targetSpec"] = newKeys().hex
		case 3:
			f["client_message_id"] = f["id"]
		}
		want = append(want, f.str("id"))
		c.write(f)
	}
	var got []string
	for range want {
		got = append(got, c.await("ack", ofType("ack")).str("id"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("acks came as %v, sent as %v", got, want)
	}
}

func badFrames(t *testing.T, s *server) {
	bob := newTeam(t, s).join(t, "bob")
	c := bob.daemon(t)
	c.exotic = true
	for _, raw := range []string{`nonsense`, `{"type":`, `[]`, `"hello"`, `null`, ``, `{"type":"list_peers"} trailing`, "\x00\x01"} {
		c.writeRaw(websocket.MessageText, raw)
		if e := c.await("an error", ofType("error")); e.str("code") != "malformed" {
			t.Errorf("%q: %s", raw, e)
		}
	}
	for _, f := range []frame{{"type": "vector_store"}, {"type": "send_file"}, {"type": ""}, {"type": 5}, {}, {"type": strings.Repeat("x", 5000)}} {
		if e := c.request(f); e.str("type") != "error" || e.str("code") != "unknown_message_type" {
			t.Errorf("%.80s: %s", f, e)
		}
	}
	for _, f := range []frame{
		{"type": "set_status", "status": "asleep"}, {"type": "set_status"}, {"type": "set_status", "status": 1},
		{"type": "set_summary", "summary": 1}, {"type": "set_stats", "stats": "many"}, {"type": "set_visible", "visible": "yes"},
		{"type": "join_group", "name": ""}, {"type": "join_group", "name": "a b"}, {"type": "leave_group", "name": 1},
		{"type": "client_ack", "clientMessageId": 1},
	} {
		if e := c.request(f); e.str("code") != "invalid" {
			t.Errorf("%s: %s", f, e)
		}
	}
	c.sync()
}

func requestIDs(t *testing.T, s *server) {
	bob := newTeam(t, s).join(t, "bob")
	c := bob.daemon(t)
	id := `weird "id" \ ü ` + strings.Repeat("x", 200)
	for _, f := range []frame{
		{"type": "list_peers"}, {"type": "message_status", "messageId": "no"}, {"type": "message_status", "messageId": "notthere"},
		{"type": "set_visible", "visible": true}, {"type": "set_profile", "title": "t"}, {"type": "set_status", "status": "x"},
	} {
		f["_reqId"] = id
		c.write(f)
		c.await("the answer to "+f.str("type")+" with its _reqId", func(a frame) bool { return a.str("_reqId") == id })
	}
	for _, f := range []frame{{"type": "set_visible", "visible": true}, {"type": "set_profile", "bio": "b"}} {
		c.write(f)
		a := c.await("ack", ofType("ack"))
		if a.str("id") != "" || a.str("messageId") != "" || a["queued"] != false || a["_reqId"] != nil {
			t.Errorf("%s without _reqId: %s", f, a)
		}
		a = c.request(f)
		if a.str("type") != "ack" || a.str("id") != a.str("_reqId") || a["queued"] != false || a["error"] != nil {
			t.Errorf("%s: %s", f, a)
		}
	}
}

// resend checks that a client_message_id identifies one message, on whichever connection
// the member repeats it, and that other members may use the same id.
func resend(t *testing.T, s *server) {
	m := newTeam(t, s)
	alice, bob := m.join(t, "alice"), m.join(t, "bob")
	from, to := alice.daemon(t), bob.daemon(t)
	first := from.send(bob.keys.hex, "once", "client_message_id", "intent")
	if again := from.send(bob.keys.hex, "once", "client_message_id", "intent"); again != first {
		t.Errorf("resent on the same connection: %s, was %s", again, first)
	}
	if got := to.message(); got.str("messageId") != first {
		t.Errorf("got %s", got)
	}
	if again := from.send(bob.keys.hex, "once", "client_message_id", "intent"); again != first {
		t.Errorf("resent after delivery: %s, was %s", again, first)
	}
	from.drop()
	back := alice.session(t, newKeys())
	if again := back.send(bob.keys.hex, "once", "client_message_id", "intent"); again != first {
		t.Errorf("resent on another connection: %s, was %s", again, first)
	}
	to.none("a second delivery", isMessage)
	if other := m.owner.daemon(t).send(bob.keys.hex, "mine", "client_message_id", "intent"); other == first {
		t.Errorf("another member's message got the same id")
	}
	if got := to.message(); text(got) != "mine" {
		t.Errorf("got %s", got)
	}
}
