package tests

import (
	"slices"
	"strings"
	"testing"
)

func TestRouting(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"session key", toSessionKey},
		{"member key", toMemberKey},
		{"member key waits", toMemberKeyLater},
		{"between sessions of a member", withinMember},
		{"groups", toGroups},
		{"everybody", toEverybody},
		{"several targets", toSeveral},
		{"hidden peers", toHidden},
		{"grants", grants},
		{"recipients are fixed at acceptance", fixedRecipients},
	})
}

func toSessionKey(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, one, two := m.join(t, "bob"), newKeys(), newKeys()
	from, daemon := m.owner.daemon(t), bob.daemon(t)
	first, second := bob.session(t, one), bob.session(t, two)
	from.send(one.hex, "for one")
	if got := text(first.message()); got != "for one" {
		t.Errorf("got %q", got)
	}
	// The message waits for its session, however long that is away, and goes to no other.
	first.leave()
	from.send(one.hex, "for one again")
	for _, c := range []*v1Client{daemon, second} {
		c.none("another session's message", isMessage)
	}
	if got := text(bob.session(t, one).message()); got != "for one again" {
		t.Errorf("got %q", got)
	}
}

func toMemberKey(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	from := m.owner.daemon(t)
	idle, active := bob.session(t, newKeys()), bob.session(t, newKeys())
	active.write(frame{"type": "set_summary", "summary": "busy here"})
	active.sync()
	from.send(bob.keys.hex, "no daemon")
	if got := text(active.message()); got != "no daemon" {
		t.Errorf("got %q", got)
	}
	active.sync() // the broker has the acknowledgement
	daemon := bob.daemon(t)
	from.send(bob.keys.hex, "daemon first")
	if got := text(daemon.message()); got != "daemon first" {
		t.Errorf("got %q", got)
	}
	for _, c := range []*v1Client{idle, active} {
		c.none("a second delivery", isMessage)
	}
}

func toMemberKeyLater(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	from := m.owner.daemon(t)
	for _, body := range []string{"1", "2", "3"} {
		from.send(bob.keys.hex, body)
	}
	// A one-shot command must not get the member's waiting messages.
	bob.oneShot(t, "some-session").none("the member's message", isMessage)
	daemon := bob.daemon(t)
	if got := daemon.texts(3); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("got %v", got)
	}
}

// withinMember checks that pushes between presences of one member omit the member key,
// because v1 daemons drop messages from their own member.
func withinMember(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, one, two := m.join(t, "bob"), newKeys(), newKeys()
	daemon, first, second := bob.daemon(t), bob.session(t, one), bob.session(t, two)
	first.send(two.hex, "session to session")
	daemon.send(one.hex, "daemon to session")
	first.send(bob.keys.hex, "session to daemon")
	for c, want := range map[*v1Client]string{second: "session to session", first: "daemon to session", daemon: "session to daemon"} {
		got := c.message()
		if _, there := got["senderMemberPubkey"]; there || text(got) != want {
			t.Errorf("got %s, want %q without senderMemberPubkey", got, want)
		}
	}
}

func toGroups(t *testing.T, s *server) {
	m := newTeam(t, s)
	group := func(names ...string) any {
		groups := []frame{}
		for _, n := range names {
			groups = append(groups, frame{"name": n, "role": "x"})
		}
		return groups
	}
	from := m.owner.daemon(t, "groups", group("dev"))
	deep := m.join(t, "deep").daemon(t, "groups", group("dev/web/ui"))
	top := m.join(t, "top").daemon(t, "groups", group("dev", "ops"))
	alike := m.join(t, "alike").daemon(t, "groups", group("development"))
	none := m.join(t, "none").daemon(t)
	tests := []struct {
		target string
		want   []*v1Client
	}{
		{"@dev", []*v1Client{deep, top}},
		{"@dev/web", []*v1Client{deep}},
		{"@dev/web/ui", []*v1Client{deep}},
		{"@dev/web/ui/x", nil},
		{"@ops", []*v1Client{top}},
	}
	everybody := []*v1Client{from, deep, top, alike, none}
	check := func(target string, want []*v1Client) {
		t.Helper()
		from.send(target, target)
		for _, c := range everybody {
			if !slices.Contains(want, c) {
				c.none("a message to "+target, isMessage)
			} else if got := c.message(); text(got) != target {
				t.Errorf("got %s, want %s", got, target)
			}
		}
	}
	for _, test := range tests {
		check(test.target, test.want)
	}
	none.write(frame{"type": "join_group", "name": "dev/db", "role": "lead"})
	top.write(frame{"type": "leave_group", "name": "dev"})
	none.sync()
	top.sync()
	check("@dev", []*v1Client{deep, none})
	groups := from.row("daemon-none").list("groups")
	if len(groups) != 1 || groups[0].str("name") != "dev/db" || groups[0].str("role") != "lead" {
		t.Errorf("groups: %v", groups)
	}
}

func toEverybody(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	from, own := m.owner.daemon(t), m.owner.session(t, newKeys())
	others := []*v1Client{bob.daemon(t), bob.session(t, newKeys()), m.join(t, "carol").session(t, newKeys())}
	for _, target := range []string{"*", "@all"} {
		from.send(target, target)
		for _, c := range others {
			if got := text(c.message()); got != target {
				t.Errorf("got %q, want %q", got, target)
			}
		}
		own.none("the own member's broadcast", isMessage)
		from.none("its own broadcast", isMessage)
	}
}

func toSeveral(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, carol, key := m.join(t, "bob"), m.join(t, "carol"), newKeys()
	from, b, session := m.owner.daemon(t), bob.daemon(t), carol.session(t, key, "groups", []frame{{"name": "dev"}})
	id := from.send([]string{bob.keys.hex, "@dev", key.hex, bob.keys.hex}, "many")
	for _, c := range []*v1Client{b, session} {
		if got := c.message(); got.str("messageId") != id {
			t.Errorf("got %s", got)
		}
		c.none("a second delivery", isMessage)
	}
	if r := from.request(frame{"type": "message_status", "messageId": id}); len(r.list("recipients")) != 2 {
		t.Errorf("status: %s", r)
	}
}

func toHidden(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	from, hidden, own := m.owner.daemon(t), bob.session(t, key), bob.daemon(t)
	hidden.request(frame{"type": "set_visible", "visible": false})
	event := from.await("peer_hidden", isEvent("peer_hidden"))
	if data := frame(event["eventData"].(map[string]any)); data.str("pubkey") != key.hex || data.str("name") != "bob" {
		t.Errorf("peer_hidden: %s", event)
	}
	from.send("*", "broadcast")
	own.message()
	hidden.none("a broadcast", isMessage)
	if from.row(sessionID(key)) != nil {
		t.Error("a hidden presence is in another member's roster")
	}
	if row := own.row(sessionID(key)); row == nil || row["visible"] != false {
		t.Errorf("own member's row of it: %s", row)
	}
	from.send(key.hex, "direct")
	if got := text(hidden.message()); got != "direct" {
		t.Errorf("got %q", got)
	}
	hidden.request(frame{"type": "set_visible", "visible": true})
	from.await("peer_visible", isEvent("peer_visible"))
	from.send("*", "broadcast again")
	if got := text(hidden.message()); got != "broadcast again" {
		t.Errorf("got %q", got)
	}
}

func grants(t *testing.T, s *server) {
	m := newTeam(t, s)
	alice, bob, key := m.join(t, "alice"), m.join(t, "bob"), newKeys()
	from, to, session := alice.daemon(t), bob.daemon(t), bob.session(t, key)
	set := func(capabilities any) {
		t.Helper()
		if a := to.request(frame{"type": "grant_set", "pubkey": alice.keys.hex, "capabilities": capabilities}); a.str("type") != "ack" {
			t.Fatalf("grant_set: %s", a)
		}
	}
	set([]string{})
	for _, target := range []string{bob.keys.hex, key.hex} {
		if e := from.refused(draft(target, "x")); e != "forbidden: blocked by recipient grants (sender lacks dm capability)" {
			t.Errorf("blocked: %q", e)
		}
	}
	from.send("*", "to all but bob")
	m.owner.daemon(t).send(bob.keys.hex, "others may")
	if got := text(to.message()); got != "others may" {
		t.Errorf("got %q", got)
	}
	session.none("a blocked broadcast", isMessage)
	set([]string{"broadcast"})
	if e := from.refused(draft(bob.keys.hex, "x")); !strings.HasPrefix(e, "forbidden: ") {
		t.Errorf("without dm: %q", e)
	}
	from.send("*", "broadcast")
	if got := text(to.message()); got != "broadcast" {
		t.Errorf("got %q", got)
	}
	set(nil)
	from.send(bob.keys.hex, "direct")
	if got := text(to.message()); got != "direct" {
		t.Errorf("got %q", got)
	}
}

// fixedRecipients checks that a broadcast goes to the peers that were present when the
// broker accepted it, even if a socket had dropped unnoticed, and to no later peers.
func fixedRecipients(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	from, gone := m.owner.daemon(t), bob.session(t, key)
	gone.drop()
	from.send("*", "to who was there")
	late := m.join(t, "late").session(t, newKeys())
	late.none("a message from before", isMessage)
	if got := text(bob.session(t, key).message()); got != "to who was there" {
		t.Errorf("got %q", got)
	}
	late.none("a message from before", isMessage)
}
