package tests

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestPresence(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"takeover", takeover},
		{"one-shot command", oneShotCommand},
		{"key taken", keyTaken},
		{"a session id takes over nothing", sessionIDs},
		{"daemon comes back", daemonReturns},
		{"who gets which announcements", announcements},
		{"roster", roster},
		{"restored", restored},
		{"profile", profile},
	})
}

func isSystem(f frame) bool { return f.str("subtype") == "system" }

func takeover(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	watching, own, first := m.owner.daemon(t), bob.daemon(t), bob.session(t, key)
	for _, c := range []*v1Client{watching, own} {
		c.await("peer_joined", func(f frame) bool {
			data, _ := f["eventData"].(map[string]any)
			return isEvent("peer_joined")(f) && data["pubkey"] == key.hex
		})
	}
	watching.send(key.hex, "not acknowledged")
	first.await("a push", isMessage)
	second := bob.session(t, key, "sessionId", "another", "cwd", "/moved")
	first.awaitClose(1000, "session_replaced")
	if second.ack.str("presenceId") != first.ack.str("presenceId") {
		t.Errorf("presence %s, was %s", second.ack.str("presenceId"), first.ack.str("presenceId"))
	}
	if got := text(second.message()); got != "not acknowledged" {
		t.Errorf("got %q", got)
	}
	if row := watching.row("another"); row.str("cwd") != "/moved" || row.str("pubkey") != key.hex {
		t.Errorf("the row was not refreshed: %s", row)
	}
	if watching.row(sessionID(key)) != nil {
		t.Error("two rows of one session key")
	}
	watching.take(isEvent("peer_joined")) // bob's daemon, which joined meanwhile
	for _, c := range []*v1Client{watching, own} {
		c.none("news of a takeover", isSystem)
	}
}

// oneShotCommand checks that a command with the id of a live session doesn't disturb the
// session and disappears when it disconnects.
func oneShotCommand(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	watching, session := m.owner.daemon(t), bob.session(t, key)
	before := watching.row(sessionID(key))
	command := bob.oneShot(t, sessionID(key))
	if command.ack.str("presenceId") == session.ack.str("presenceId") {
		t.Error("the command has the session's presence")
	}
	command.send(m.owner.keys.hex, "from a command")
	watching.message()
	command.leave()
	await.Until(t, "the command is gone", func() bool {
		return len(watching.peers()) == 2
	})
	if after := watching.row(sessionID(key)); after.String() != before.String() {
		t.Errorf("the session's row is %s, was %s", after, before)
	}
	session.sync()
	watching.send(key.hex, "still here")
	if got := text(session.message()); got != "still here" {
		t.Errorf("got %q", got)
	}
}

func keyTaken(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, eve, key := m.join(t, "bob"), m.join(t, "eve"), newKeys()
	session, from := bob.session(t, key), m.owner.daemon(t)
	claim := func(p *member) {
		t.Helper()
		c := s.dial(t)
		c.write(p.keys.signHello(p.hello("sessionPubkey", key.hex, "sessionId", "claims")))
		refusal{code: "key_taken", message: "..."}.check(t, c)
	}
	claim(eve)
	claim(bob)
	session.leave()
	claim(eve) // also while bob's session is away
	from.send(key.hex, "for the true one")
	if got := text(bob.session(t, key).message()); got != "for the true one" {
		t.Errorf("got %q", got)
	}

	// A proof replaces an earlier claim.
	early := newKeys()
	claimer := eve.daemon(t, "sessionPubkey", early.hex, "sessionId", "early")
	proven := bob.session(t, early)
	from.send(early.hex, "to the proven")
	if got := text(proven.message()); got != "to the proven" {
		t.Errorf("got %q", got)
	}
	claimer.none("the proven one's message", isMessage)
	if row := from.row("early"); row.str("pubkey") == early.hex {
		t.Errorf("the claim is still shown: %s", row)
	}
}

// sessionIDs checks that a session id, which anybody can claim, disconnects nobody with
// another member, role or key.
func sessionIDs(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, eve := m.join(t, "bob"), m.join(t, "eve")
	session := bob.session(t, newKeys(), "sessionId", "shared")
	others := []*v1Client{
		bob.session(t, newKeys(), "sessionId", "shared"),
		bob.daemon(t, "sessionId", "shared", "hostname", nil),
		eve.session(t, newKeys(), "sessionId", "shared"),
		eve.daemon(t, "sessionId", "shared"),
	}
	ids := []string{session.ack.str("presenceId")}
	for _, c := range others {
		ids = append(ids, c.ack.str("presenceId"))
		c.sync()
	}
	session.sync()
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 5 {
		t.Errorf("got %d presences, want 5", n)
	}
}

func daemonReturns(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	watching, daemon := m.owner.daemon(t), bob.daemon(t)
	watching.await("peer_joined", isEvent("peer_joined"))
	daemon.write(frame{"type": "set_summary", "summary": "on duty"})
	daemon.sync()
	daemon.drop()
	await.Until(t, "the daemon is away", func() bool { return watching.row("daemon-bob")["online"] == false })
	// With another process id, and so another session id, the host name identifies it.
	back := bob.daemon(t, "sessionId", "daemon-777", "pid", 777)
	if back.ack.str("presenceId") != daemon.ack.str("presenceId") || back.ack["restored"] != true || back.ack.str("lastSummary") != "on duty" {
		t.Errorf("hello_ack: %s, was %s", back.ack, daemon.ack)
	}
	watching.none("news of a short absence", isSystem)
	elsewhere := bob.daemon(t, "hostname", "another-host")
	if elsewhere.ack.str("presenceId") == back.ack.str("presenceId") {
		t.Error("a daemon on another host took over the presence")
	}
	back.sync()
}

func announcements(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	other, own := m.owner.daemon(t), bob.session(t, newKeys())
	other.await("peer_joined", isEvent("peer_joined"))

	// Only other members hear when a daemon joins or leaves.
	daemon := bob.daemon(t, "groups", []frame{{"name": "dev"}})
	joined := other.await("peer_joined", isEvent("peer_joined"))
	data := frame(joined["eventData"].(map[string]any))
	if data.str("name") != "bob" || data.str("pubkey") != bob.keys.hex || len(data.list("groups")) != 1 {
		t.Errorf("peer_joined: %s", joined)
	}
	for name, want := range map[string]any{"senderPubkey": "system", "priority": "low", "nonce": "", "ciphertext": "", "meshId": m.id} {
		if joined[name] != want {
			t.Errorf("%s of a system push is %v", name, joined[name])
		}
	}
	if id := joined.str("messageId"); len(id) != 36 || id[14] != '4' {
		t.Errorf("messageId of a system push is %q, not a UUIDv4", id)
	}
	daemon.leave()
	left := other.await("peer_left", isEvent("peer_left"))
	if data := frame(left["eventData"].(map[string]any)); data.str("pubkey") != bob.keys.hex || data.str("name") != "bob" {
		t.Errorf("peer_left: %s", left)
	}
	own.none("news of the own member's daemon", isSystem)

	// Everybody hears when a session joins.
	session := bob.session(t, key)
	for _, c := range []*v1Client{other, own} {
		c.await("peer_joined", isEvent("peer_joined"))
	}
	session.none("news of itself", isSystem)
	session.leave()
	for _, c := range []*v1Client{other, own} {
		c.await("peer_left", isEvent("peer_left"))
	}
}

func roster(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	owner := m.owner.daemon(t)
	session := bob.session(t, key, "model", "opus", "groups", []frame{{"name": "dev", "role": "lead"}})
	daemon := bob.daemon(t, "displayName", "bobd")
	session.write(frame{"type": "set_summary", "summary": "fixing the build"})
	session.write(frame{"type": "set_stats", "stats": frame{"toolCalls": 3}})
	session.write(frame{"type": "set_status", "status": "working"})
	session.sync()
	daemon.sync()
	rows := owner.peers()
	if len(rows) != 3 || rows[0].str("sessionId") != "daemon-owner" || rows[1].str("pubkey") != key.hex || rows[2].str("pubkey") != bob.keys.hex {
		t.Fatalf("roster: %v", rows)
	}
	want := []frame{
		{"pubkey": key.hex, "memberPubkey": bob.keys.hex, "displayName": "bob", "status": "working", "summary": "fixing the build",
			"sessionId": sessionID(key), "cwd": "/home/bob/work", "peerRole": "session", "hostname": "bob-host", "peerType": "ai",
			"channel": "claudemesh-session", "model": "opus", "visible": true},
		{"pubkey": bob.keys.hex, "memberPubkey": bob.keys.hex, "displayName": "bobd", "status": "idle", "summary": nil,
			"sessionId": "daemon-bob", "cwd": "/home/bob", "peerRole": "control-plane", "channel": "claudemesh-daemon", "visible": true},
	}
	for i, row := range rows[1:] {
		for name, v := range want[i] {
			if got, there := row[name]; got != v || !there {
				t.Errorf("row %d: %s is %v, want %v", i+1, name, got, v)
			}
		}
		if !isKind(row["connectedAt"], "time") || !isKind(row["groups"], "list") {
			t.Errorf("row %d: %s", i+1, row)
		}
	}
	if groups := rows[1].list("groups"); len(groups) != 1 || groups[0].str("name") != "dev" || groups[0].str("role") != "lead" {
		t.Errorf("groups: %s", rows[1])
	}
	if stats, _ := rows[1]["stats"].(map[string]any); stats["toolCalls"] != 3.0 {
		t.Errorf("stats: %s", rows[1])
	}
}

// restored checks what a hello_ack says about an earlier presence that has ended.
func restored(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	watching, daemon := m.owner.daemon(t), bob.daemon(t, "groups", []frame{{"name": "dev"}})
	daemon.write(frame{"type": "set_summary", "summary": "mine"})
	daemon.write(frame{"type": "set_stats", "stats": frame{"errors": 1}})
	daemon.sync()
	daemon.leave()
	watching.await("peer_left", isEvent("peer_left"))
	back := bob.daemon(t, "groups", nil)
	stats, _ := back.ack["restoredStats"].(map[string]any)
	groups := back.ack.list("restoredGroups")
	if back.ack["restored"] != true || back.ack.str("lastSummary") != "mine" || !isKind(back.ack["lastSeenAt"], "time") ||
		stats["errors"] != 1.0 || len(groups) != 1 || groups[0].str("name") != "dev" {
		t.Errorf("hello_ack: %s", back.ack)
	}
	event := watching.await("peer_returned", isEvent("peer_returned"))
	if data := frame(event["eventData"].(map[string]any)); data.str("summary") != "mine" || !isKind(data["lastSeenAt"], "time") {
		t.Errorf("peer_returned: %s", event)
	}
}

func profile(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	watching, daemon := m.owner.daemon(t), bob.daemon(t)
	daemon.request(frame{"type": "set_profile", "avatar": "🐙", "title": "builder", "bio": "b", "capabilities": []string{"go"}})
	watching.await("profile_updated", isEvent("profile_updated"))
	got, _ := watching.row("daemon-bob")["profile"].(map[string]any)
	if got["avatar"] != "🐙" || got["title"] != "builder" || got["bio"] != "b" {
		t.Errorf("profile: %v", got)
	}
}
