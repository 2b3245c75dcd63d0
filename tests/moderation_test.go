package tests

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestModeration kicks and bans peers, both with v1 messages and with our command.
func TestModeration(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"kick", kick},
		{"kick all and stale", kickMany},
		{"disconnect", disconnect},
		{"ban", ban},
		{"who may", whoModerates},
		{"the command", moderationCommands},
		{"several of a name", moderationOfSeveral},
	})
}

func names(f frame, field string) []string {
	var list []string
	for _, v := range f[field].([]any) {
		list = append(list, v.(string))
	}
	slices.Sort(list)
	return list
}

func kick(t *testing.T, s *server) {
	m := newTeam(t, s)
	owner := m.owner.daemon(t)
	bob, key := m.join(t, "Bob"), newKeys()
	for how, target := range map[string]string{
		"display name": "Bob", "in another case": "bob", "member key": bob.keys.hex, "start of it": bob.keys.hex[:8],
		"session key": key.hex, "start of that": key.hex[:12],
	} {
		daemon, claude := bob.daemon(t), bob.session(t, key)
		got := owner.request(frame{"type": "kick", "target": target})
		skipped := got["skipped_control_plane"] != nil // a session's key means only the session
		if got.str("type") != "kick_ack" || !slices.Equal(names(got, "kicked"), []string{"Bob"}) || !slices.Equal(names(got, "affected"), []string{"Bob"}) ||
			skipped == strings.Contains(target, key.hex[:12]) {
			t.Fatalf("by %s: %s", how, got)
		}
		claude.awaitClose(4001, "kicked")
		left := owner.await("peer_left", func(f frame) bool {
			data, _ := f["eventData"].(map[string]any)
			return isEvent("peer_left")(f) && data["pubkey"] == key.hex
		})
		if left == nil || owner.row(sessionID(key)) != nil {
			t.Errorf("by %s: the session is still connected", how)
		}
		daemon.sync() // kick spares the control plane
		daemon.leave()
	}
	// A kicked peer may reconnect, and gets the waiting messages.
	owner.send(key.hex, "later")
	if got := text(bob.session(t, key).message()); got != "later" {
		t.Errorf("got %q", got)
	}
	// An unknown name gives empty lists, as v1 clients expect.
	if got := owner.request(frame{"type": "kick", "target": "nobody"}); got.str("type") != "kick_ack" || len(names(got, "kicked")) != 0 {
		t.Errorf("%s", got)
	}
	// An ambiguous name matches nobody.
	m.join(t, "Bob").session(t, newKeys())
	if got := owner.request(frame{"type": "kick", "target": "Bob"}); got.str("code") != "invalid" {
		t.Errorf("%s", got)
	}
	for _, bad := range []frame{{}, {"target": "Bob", "all": true}, {"stale": -1}, {"target": 5}} {
		bad["type"] = "kick"
		if got := owner.request(bad); got.str("code") != "invalid" {
			t.Errorf("%s: %s", bad, got)
		}
	}
	await.Until(t, "the audit log has the entries", func() bool {
		kicked := 0
		for _, e := range owner.request(frame{"type": "audit_query", "last": 100}).list("entries") {
			if e.str("kind") == "peer_kicked" {
				kicked++
			}
		}
		return kicked == 6
	})
}

func kickMany(t *testing.T, s *server) {
	m := newTeam(t, s)
	owner, mine := m.owner.daemon(t), m.owner.session(t, newKeys())
	bob, carol := m.join(t, "Bob"), m.join(t, "Carol")
	b, c, leased := bob.session(t, newKeys()), carol.session(t, newKeys()), newKeys()
	away := carol.session(t, leased, "displayName", "away")
	away.drop()
	await.Until(t, "one session is leased", func() bool { return owner.row(sessionID(leased))["online"] == false })
	if got := owner.request(frame{"type": "kick", "stale": 3_600_000}); len(names(got, "kicked")) != 0 {
		t.Errorf("stale for an hour: %s", got)
	}
	got := owner.request(frame{"type": "kick", "all": true})
	if !slices.Equal(names(got, "kicked"), []string{"Bob", "Carol", "away"}) {
		t.Errorf("%s", got)
	}
	b.awaitClose(4001, "kicked")
	c.awaitClose(4001, "kicked")
	mine.sync() // the caller's own connections stay
	d := bob.session(t, newKeys())
	got = owner.request(frame{"type": "kick", "stale": 1})
	if !slices.Contains(names(got, "kicked"), "Bob") {
		t.Errorf("%s", got)
	}
	d.awaitClose(4001, "kicked_stale")
}

func disconnect(t *testing.T, s *server) {
	m := newTeam(t, s)
	owner := m.owner.daemon(t)
	bob := m.join(t, "Bob")
	daemon, claude := bob.daemon(t), bob.session(t, newKeys())
	got := owner.request(frame{"type": "disconnect", "target": "Bob"})
	if got.str("type") != "disconnect_ack" || len(names(got, "kicked")) != 2 || got["skipped_control_plane"] != nil {
		t.Errorf("%s", got)
	}
	daemon.awaitClose(1000, "disconnected")
	claude.awaitClose(1000, "disconnected")
	if peers := owner.peers(); len(peers) != 1 {
		t.Errorf("%v", peers)
	}
}

func ban(t *testing.T, s *server) {
	m := newTeam(t, s)
	owner := m.owner.daemon(t)
	bob, key, away := m.join(t, "Bob"), newKeys(), newKeys()
	bob.session(t, away, "displayName", "elsewhere").leave()
	for how, target := range map[string]string{
		"display name": "Bob", "key": bob.keys.hex, "start of it": bob.keys.hex[:10], "session key": key.hex, "session that is away": away.hex,
	} {
		daemon, claude := bob.daemon(t), bob.session(t, key)
		got := owner.request(frame{"type": "ban", "target": target})
		if got.str("type") != "ban_ack" || got.str("banned") != "Bob" {
			t.Fatalf("by %s: %s", how, got)
		}
		daemon.awaitClose(4002, "banned")
		claude.awaitClose(4002, "banned")
		if peers := owner.peers(); len(peers) != 1 {
			t.Errorf("by %s, still there: %v", how, peers)
		}
		list := owner.request(frame{"type": "list_bans"})
		if rows := list.list("bans"); list.str("type") != "list_bans_result" || len(rows) != 1 || rows[0].str("name") != "Bob" ||
			rows[0].str("pubkey") != bob.keys.hex || !timePattern.MatchString(rows[0].str("revokedAt")) {
			t.Errorf("list_bans: %s", list)
		}
		for _, hello := range []frame{bob.keys.signHello(bob.hello()), key.signSessionHello(bob.sessionHello(key))} {
			c := s.dial(t)
			c.write(hello)
			refusal{code: "revoked", message: `You've been removed from "The Team". Contact the mesh owner to rejoin.`, closeCode: 4002, reason: "banned"}.check(t, c)
		}
		if status, answer := s.post(t, "/join", m.invite.joinBody(bob.keys.hex, "Bob")); status != 400 {
			t.Errorf("a banned key joins again: %d %s", status, answer)
		}
		if why := owner.refused(draft(bob.keys.hex, "x")); !strings.HasPrefix(why, "target_not_found") {
			t.Errorf("a message to a banned member: %q", why)
		}
		if got := owner.request(frame{"type": "unban", "target": "Bob"}); got.str("type") != "unban_ack" || got.str("unbanned") != "Bob" {
			t.Fatalf("%s", got)
		}
		if rows := owner.request(frame{"type": "list_bans"}).list("bans"); len(rows) != 0 {
			t.Errorf("%v", rows)
		}
	}
	// It is a member again and gets messages.
	claude := bob.session(t, key)
	owner.send(key.hex, "welcome back")
	if got := text(claude.message()); got != "welcome back" {
		t.Errorf("got %q", got)
	}
	for _, test := range []struct{ typ, target, code string }{
		{"ban", "nobody", "not_found"}, {"unban", "Bob", "not_found"}, {"unban", bob.keys.hex, "invalid"}, {"ban", m.owner.keys.hex, "forbidden"}, {"ban", "", "invalid"},
	} {
		if got := owner.request(frame{"type": test.typ, "target": test.target}); got.str("code") != test.code {
			t.Errorf("%s %q: %s", test.typ, test.target, got)
		}
	}
	// Unban doesn't undo a removal; a banned member can be removed.
	owner.request(frame{"type": "ban", "target": "Bob"})
	owner.request(frame{"type": "member_remove", "pubkey": bob.keys.hex})
	for _, typ := range []string{"ban", "unban"} {
		if got := owner.request(frame{"type": typ, "target": bob.keys.hex}); got.str("code") != "invalid" {
			t.Errorf("%s of a removed member: %s", typ, got)
		}
	}
	await.Until(t, "the audit log has the entries", func() bool {
		var kinds []string
		for _, e := range owner.request(frame{"type": "audit_query", "last": 100}).list("entries") {
			if kind := e.str("kind"); strings.HasSuffix(kind, "banned") || kind == "member_removed" {
				kinds = append(kinds, kind)
			}
		}
		return len(kinds) == 12 && kinds[0] == "member_banned" && kinds[1] == "member_unbanned" && kinds[11] == "member_removed"
	})
}

func whoModerates(t *testing.T, s *server) {
	m := newTeam(t, s)
	owner, plain, admin := m.owner.daemon(t), m.join(t, "plain"), m.join(t, "admin")
	owner.request(frame{"type": "member_set_role", "pubkey": admin.keys.hex, "role": "admin"})
	p, a := plain.daemon(t), admin.daemon(t)
	victim := m.join(t, "victim").session(t, newKeys())
	for _, typ := range []string{"kick", "disconnect", "ban", "unban", "list_bans"} {
		if got := p.request(frame{"type": typ, "target": "victim"}); got.str("code") != "forbidden" {
			t.Errorf("%s by a plain member: %s", typ, got)
		}
	}
	victim.sync()
	if got := a.request(frame{"type": "ban", "target": "owner"}); got.str("code") != "forbidden" {
		t.Errorf("%s", got)
	}
	for _, typ := range []string{"kick", "ban"} {
		if got := a.request(frame{"type": typ, "target": "victim"}); got.str("type") != typ+"_ack" {
			t.Errorf("%s by an admin: %s", typ, got)
		}
	}
}

func moderationCommands(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	carol := joinV1(t, s, alice.invite("--format", "v1"), "carol")
	c := carol.session(t, newKeys())
	got := parse(t, alice.must("kick", "carol", "--reason", "too loud", "--json"))
	if !reflect.DeepEqual(got["kicked"], []any{"carol"}) {
		t.Errorf("kick prints %s", got)
	}
	if e := c.await("the reason", ofType("error")); e.str("code") != "kicked" || e.str("message") != "too loud" {
		t.Errorf("%s", e)
	}
	c.awaitClose(4001, "kicked")
	alice.fails(1, "no connected peer", "kick", "carol")
	bob.fails(1, "only the owner and admins", "kick", "carol")

	if out := alice.must("ban", "bob", "--reason", "spam"); !strings.Contains(out, "bob") || !strings.Contains(out, "unban") {
		t.Errorf("ban prints %q", out)
	}
	bob.fails(1, "Reason: spam", "peers")
	if rows := alice.list("bans", "--json"); len(rows) != 1 || rows[0].str("name") != "bob" || rows[0].str("reason") != "spam" {
		t.Errorf("bans: %v", rows)
	}
	if out := alice.must("bans"); !strings.Contains(out, "bob") || !strings.Contains(out, "spam") {
		t.Errorf("bans prints %q", out)
	}
	if out := alice.must("members"); !strings.Contains(out, "banned") {
		t.Errorf("members prints %q", out)
	}
	alice.fails(1, "no such member", "ban", "nobody")
	alice.fails(2, "", "ban")
	got = parse(t, alice.must("unban", bob.config().str("pubkey")[:8], "--json"))
	if got.str("name") != "bob" {
		t.Errorf("unban prints %s", got)
	}
	bob.must("peers")
	if out := alice.must("bans"); strings.Contains(out, "bob") {
		t.Errorf("bans prints %q", out)
	}
	bob.fails(1, "only the owner and admins", "bans")
}

// moderationOfSeveral checks that the command does nothing if several members have the
// name, and that each command that it suggests means one of them.
func moderationOfSeveral(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	keys := map[string]bool{}
	for range 2 {
		keys[joinV1(t, s, alice.invite("--format", "v1"), "bob").keys.hex] = true
	}
	for _, verb := range []string{"kick", "ban", "unban"} {
		_, errOut, code := alice.run(verb, "bob")
		var picks []string
		for line := range strings.Lines(errOut) {
			if words := strings.Fields(line); len(words) > 3 && strings.HasSuffix(words[0], "claudemesh") && words[1] == verb {
				picks = append(picks, words[2])
			}
		}
		if code != 1 || len(picks) != 2 || picks[0] == picks[1] {
			t.Fatalf("%s bob: exit code %d\n%s", verb, code, errOut)
		}
		for _, pick := range picks {
			if verb == "kick" {
				alice.fails(1, "no connected peer", verb, pick)
				continue
			}
			out := parse(t, alice.must(verb, pick, "--json"))
			if !keys[out.str("pubkey")] || !strings.HasPrefix(out.str("pubkey"), pick) {
				t.Errorf("%s %s: %s", verb, pick, out)
			}
		}
	}
}
