package tests

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestMixedMesh has our clients and v1 clients in one mesh, with a very low send rate.
func TestMixedMesh(t *testing.T) {
	scenariosOnBoth(t, []string{"SEND_BURST=4", "SEND_RATE_PER_MIN=1"}, []scenario{
		{"v1 clients can read a message to all", toAllInMixed},
		{"copies do not count as messages", copiesAreFree},
		{"unreachable peers are listed", unreached},
	})
}

// TestSealedForMany tests how the broker handles messages that some recipients can't open.
func TestSealedForMany(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"only capable clients get a message sealed for many", sealedForMany},
		{"a sender that sends no copies is refused", senderWithoutCopies},
		{"a copy is a broadcast", copyGrants},
	})
}

// TestSealedForManyOverRestarts does the same across restarts of the broker.
func TestSealedForManyOverRestarts(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, s *server) {
		repeatedSealed(t, s)
		changeOfClient(t, s)
	})
}

func toAllInMixed(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	carol := joinV1(t, s, alice.invite("--format", "v1"), "carol")
	session := newKeys()
	daemon, claude := carol.daemon(t), carol.session(t, session, "groups", []frame{{"name": "dev"}})
	inbox := bob.start("inbox", "--follow", "--json")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 3 })

	sent := parse(t, alice.must("send", "@all", "for all of you", "--json"))
	for c, k := range map[*v1Client]keyPair{daemon: carol.keys, claude: session} {
		m := c.message()
		if got, sealed := v1Text(t, m, k); got != "for all of you" || !sealed {
			t.Errorf("v1 reads %q, sealed %v", got, sealed)
		}
		c.none("a second copy", isMessage)
	}
	if m := parse(t, inbox.line()); m.str("body") != "for all of you" || m.str("sealing") != "mesh" {
		t.Errorf("bob got %s", m)
	}
	var status frame
	await.Until(t, "all recipients have the message", func() bool {
		status = parse(t, alice.must("status", sent.str("messageId"), "--json"))
		return status["delivered"] == true
	})
	if rows := status.list("recipients"); len(rows) != 3 || sent.str("unreached") != "" {
		t.Errorf("status %s, sent %s", status, sent)
	}
	// Send to a group that has only v1 peers.
	alice.must("send", "@dev", "for dev")
	if got, sealed := v1Text(t, claude.message(), session); got != "for dev" || !sealed {
		t.Errorf("v1 reads %q, sealed %v", got, sealed)
	}
	daemon.none("a message to a group that it is not in", isMessage)

	// In the other direction: a v1 client writes to groups in plain text, and the command says
	// so.
	claude.send("@all", "from v1")
	if m := parse(t, inbox.line()); m.str("body") != "from v1" || m.str("sealing") != "none" {
		t.Errorf("bob got %s", m)
	}
	inbox.stop()
}

func copiesAreFree(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.must("create", "team")
	carol := joinV1(t, s, alice.invite("--format", "v1"), "carol")
	var sessions []*v1Client
	var keys []keyPair
	for range 10 {
		keys = append(keys, newKeys())
		sessions = append(sessions, carol.session(t, keys[len(keys)-1]))
	}
	alice.must("send", "*", "ten copies") // the burst is 4, and each further message takes a minute
	for i, c := range sessions {
		if got, sealed := v1Text(t, c.message(), keys[i]); got != "ten copies" || !sealed {
			t.Errorf("v1 reads %q, sealed %v", got, sealed)
		}
	}
}

func unreached(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.must("create", "team")
	carol := joinV1(t, s, alice.invite("--format", "v1"), "carol")
	c := carol.oneShot(t, "elsewhere", "displayName", "passing") // a key without an attestation
	out := alice.must("send", "*", "hello")
	if !strings.Contains(out, "not for passing (no member vouches for the key)") {
		t.Errorf("send prints %q", out)
	}
	sent := parse(t, alice.must("send", "*", "hello", "--json"))
	if rows := sent.list("recipients"); len(rows) != 1 || rows[0].str("state") != "unopened" || sent["delivered"] == true || sent.str("unreached") == "" {
		t.Errorf("send prints %s", sent)
	}
	c.none("what it can't open", isMessage)
}

// sealedDraft returns a message that only clients with the mesh key can open.
func sealedDraft(target any, id string, fields ...any) frame {
	f := draft(target, "sealed", append([]any{"client_message_id", id, "bodyVersion", 3, "keyEpoch", 1}, fields...)...)
	f["ciphertext"] = base64.StdEncoding.EncodeToString([]byte{0xff, 0xfe, 0xfd})
	return f
}

const opensSealed = "sealed_groups"

func sealedForMany(t *testing.T, s *server) {
	m := newTeam(t, s)
	ours := []any{"capabilities", []string{opensSealed}}
	from := m.owner.daemon(t, ours...)
	bob, carol := m.join(t, "bob"), m.join(t, "carol")
	bk, ck := newKeys(), newKeys()
	b, c := bob.session(t, bk, ours...), carol.session(t, ck)
	for id, row := range map[string]frame{"bob": from.row(sessionID(bk)), "carol": from.row(sessionID(ck))} {
		if opens := row["sealedGroups"] == true; opens != (id == "bob") {
			t.Errorf("the roster says of %s: %s", id, row)
		}
	}
	ack := from.post(sealedDraft("@all", "one"))
	rows := ack.list("unopened")
	if len(rows) != 1 || rows[0].str("pubkey") != ck.hex || rows[0].str("memberPubkey") != carol.keys.hex ||
		rows[0].str("name") != "carol" || rows[0]["attestation"] == nil {
		t.Fatalf("ack %s", ack)
	}
	if got := b.message(); got.str("client_message_id") != "one" {
		t.Errorf("bob got %s", got)
	}
	c.none("what it can't open", isMessage)
	await.Until(t, "bob has the message, and carol can't open it", func() bool {
		status := from.request(frame{"type": "message_status", "messageId": ack.str("messageId")})
		states := map[string]string{}
		for _, r := range status.list("recipients") {
			states[r.str("pubkey")] = r.str("state")
		}
		if states[ck.hex] != "unopened" || status["delivered"] != false {
			t.Fatalf("status %s", status)
		}
		return states[bk.hex] == "delivered"
	})
	// The copy is the same message, for carol's key.
	id := "one/" + ck.hex[:16]
	nonce, ciphertext := m.owner.keys.seal(t, ck.hex, "hello")
	from.write(frame{"type": "send", "id": id, "client_message_id": id, "targetSpec": ck.hex, "priority": "next", "bodyVersion": 6,
		"nonce": nonce, "ciphertext": ciphertext})
	if got, sealed := v1Text(t, c.message(), ck); got != "hello" || !sealed {
		t.Errorf("carol reads %q, sealed %v", got, sealed)
	}
	await.Until(t, "the status shows the copy", func() bool {
		return from.request(frame{"type": "message_status", "messageId": ack.str("messageId")})["delivered"] == true
	})
	// An unsealed message goes to everybody.
	from.send("@all", "plain")
	for _, x := range []*v1Client{b, c} {
		if got := text(x.message()); got != "plain" {
			t.Errorf("got %q", got)
		}
	}
}

func senderWithoutCopies(t *testing.T, s *server) {
	m := newTeam(t, s)
	from := m.owner.daemon(t)
	bob := m.join(t, "bob").daemon(t, "capabilities", []string{opensSealed})
	if ack := from.post(sealedDraft("*", "fine")); ack["queued"] != true {
		t.Errorf("a message that every peer can open: got ack %s", ack)
	}
	bob.message()
	carol := m.join(t, "carol").daemon(t)
	if why := from.refused(sealedDraft("*", "not fine")); !permanent.MatchString(why) || !strings.Contains(why, "carol") {
		t.Errorf("refused with %q", why)
	}
	bob.none("part of a refused message", isMessage)
	carol.none("part of a refused message", isMessage)
}

func repeatedSealed(t *testing.T, s *server) {
	m := newTeam(t, s)
	from := m.owner.daemon(t, "capabilities", []string{opensSealed})
	carol := m.join(t, "carol").daemon(t)
	first := from.post(sealedDraft("*", "again"))
	carol.leave() // message_status must list carol even after she left
	for range 2 {
		ack := from.post(sealedDraft("*", "again"))
		if ack["repeated"] != true || ack.str("messageId") != first.str("messageId") {
			t.Fatalf("ack %s", ack)
		}
		rows := from.request(frame{"type": "message_status", "messageId": ack.str("messageId")}).list("recipients")
		if len(rows) != 1 || rows[0].str("state") != "unopened" {
			t.Errorf("recipients %v", rows)
		}
		s.Stop()
		s.Start()
		from = m.owner.daemon(t, "capabilities", []string{opensSealed})
	}
}

// changeOfClient reconnects a session with another client and the same key.
func changeOfClient(t *testing.T, s *server) {
	m := newTeam(t, s)
	ours := []any{"capabilities", []string{opensSealed}}
	from := m.owner.daemon(t, ours...)
	bob, k := m.join(t, "bob"), newKeys()
	c := bob.session(t, k, ours...)
	c.drop()
	await.Until(t, "the presence is leased", func() bool { return from.row(sessionID(k))["online"] == false })
	s.Stop() // a leased presence keeps its capabilities across a restart
	s.Start()
	from = m.owner.daemon(t, ours...)
	if ack := from.post(sealedDraft("*", "sealed")); len(ack.list("unopened")) != 0 {
		t.Fatalf("ack %s", ack)
	}
	// It reconnects with v1: messages that it can't open wait; others arrive.
	c = bob.session(t, k)
	from.send(k.hex, "direct")
	if got := text(c.message()); got != "direct" {
		t.Errorf("got %q", got)
	}
	ack := from.post(sealedDraft("*", "for v1"))
	if len(ack.list("unopened")) != 1 {
		t.Errorf("ack %s", ack)
	}
	c.none("what it can't open", isMessage)
	c = bob.session(t, k, ours...)
	if got := c.message(); got.str("client_message_id") != "sealed" {
		t.Errorf("got %s", got)
	}
	c.none("what it was not sent", isMessage)
}

// copyGrants checks that a copy of a broadcast needs the grant for broadcasts.
func copyGrants(t *testing.T, s *server) {
	m := newTeam(t, s)
	from := m.owner.daemon(t, "capabilities", []string{opensSealed})
	carol := m.join(t, "carol")
	c := carol.daemon(t)
	grant := c.request(frame{"type": "grant_set", "pubkey": m.owner.keys.hex, "capabilities": []string{"broadcast"}})
	if grant.str("type") != "ack" {
		t.Fatalf("grant_set: %s", grant)
	}
	if ack := from.post(sealedDraft("*", "one")); len(ack.list("unopened")) != 1 {
		t.Fatalf("ack %s", ack)
	}
	id := "one/" + carol.keys.hex[:16]
	from.send(carol.keys.hex, "copy", "client_message_id", id, "bodyVersion", 6)
	if got := text(c.message()); got != "copy" {
		t.Errorf("got %q", got)
	}
	for i, id := range []string{"two/" + carol.keys.hex[:16], "direct", ""} {
		if why := from.refused(draft(carol.keys.hex, fmt.Sprint("no copy ", i), "client_message_id", id, "bodyVersion", 6)); !strings.HasPrefix(why, "forbidden") {
			t.Errorf("refused with %q", why)
		}
	}
}
