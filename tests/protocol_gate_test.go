package tests

import (
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestGate(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"working by hand", func(t *testing.T, s *server) { gate(t, s, byHand("working"), byHand("idle")) }},
		{"dnd by hand", func(t *testing.T, s *server) { gate(t, s, byHand("dnd"), byHand("idle")) }},
		{"working by hook", func(t *testing.T, s *server) { gate(t, s, byHook("working"), byHook("idle")) }},
		{"working by hook, idle by hand", func(t *testing.T, s *server) { gate(t, s, byHook("working"), byHand("idle")) }},
		{"only a person ends dnd", dndStays},
		{"status of a returning session", gateOfBacklog},
	})
}

func TestStatusTTL(t *testing.T) {
	scenariosOnBoth(t, []string{"STATUS_TTL_SECONDS=1"}, []scenario{
		{"hook", func(t *testing.T, s *server) { gate(t, s, byHook("working"), byTime) }},
		{"roster", statusFallsBack},
	})
}

// setter changes the status of a session.
type setter func(t *testing.T, s *server, c *v1Client, session keyPair)

func byHand(status string) setter {
	return func(_ *testing.T, _ *server, c *v1Client, _ keyPair) {
		c.write(frame{"type": "set_status", "status": status})
		c.sync()
	}
}

func byHook(status string) setter {
	return func(t *testing.T, s *server, c *v1Client, session keyPair) {
		t.Helper()
		code, answer := s.post(t, "/hook/set-status", frame{"cwd": "/elsewhere", "pid": 1, "status": status, "session_id": sessionID(session)})
		if code != 200 || answer["ok"] != true || answer.str("presence_id") != c.ack.str("presenceId") {
			t.Errorf("hook: %d %s", code, answer)
		}
	}
}

// byTime lets the status time out.
func byTime(*testing.T, *server, *v1Client, keyPair) {}

// gate checks that a busy session gets only urgent messages, and the rest in order once it
// is free.
func gate(t *testing.T, s *server, busy, free setter) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	from, to := m.owner.daemon(t), bob.session(t, key)
	busy(t, s, to, key)
	from.send(key.hex, "1", "priority", "next")
	from.send("*", "2", "priority", "low")
	from.send(bob.keys.hex, "3", "priority", "next") // nobody else is home
	from.send(key.hex, "urgent", "priority", "now")
	from.send("*", "urgent to all", "priority", "now")
	if got := to.texts(2); !slices.Equal(got, []string{"urgent", "urgent to all"}) {
		t.Errorf("a busy session got %v", got)
	}
	free(t, s, to, key)
	var own []string // the messages in its own mailbox; "3" is in the member's
	for range 3 {
		if got := text(to.message()); got != "3" {
			own = append(own, got)
		}
	}
	if !slices.Equal(own, []string{"1", "2"}) {
		t.Errorf("got %v when free", own)
	}
}

func dndStays(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	from, to := m.owner.daemon(t), bob.session(t, key)
	byHand("dnd")(t, s, to, key)
	for _, status := range []string{"working", "idle"} {
		byHook(status)(t, s, to, key)
		if row := from.row(sessionID(key)); row.str("status") != "dnd" {
			t.Errorf("after a hook that says %s: %s", status, row)
		}
	}
	from.send(key.hex, "x")
	to.none("a message in dnd", isMessage)
	byHand("working")(t, s, to, key)
	if row := from.row(sessionID(key)); row.str("status") != "working" {
		t.Errorf("by hand: %s", row)
	}
	to.none("a message while working", isMessage)
	byHand("idle")(t, s, to, key)
	to.message()
}

// gateOfBacklog checks that a status survives a short absence and then holds back the
// backlog.
func gateOfBacklog(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	from, to := m.owner.daemon(t), bob.session(t, key)
	byHand("dnd")(t, s, to, key)
	to.drop()
	from.send(key.hex, "1")
	from.send(key.hex, "urgent", "priority", "now")
	back := bob.session(t, key)
	if got := text(back.message()); got != "urgent" {
		t.Errorf("got %q", got)
	}
	back.none("a held message", isMessage)
	byHand("idle")(t, s, back, key)
	if got := text(back.message()); got != "1" {
		t.Errorf("got %q", got)
	}
}

func statusFallsBack(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	watching, to := m.owner.daemon(t), bob.session(t, key)
	byHook("working")(t, s, to, key)
	if row := watching.row(sessionID(key)); row.str("status") != "working" {
		t.Errorf("after the hook: %s", row)
	}
	await.Until(t, "working becomes idle", func() bool {
		return watching.row(sessionID(key)).str("status") == "idle"
	})
	byHand("dnd")(t, s, to, key)
	other := newKeys()
	second := bob.session(t, other)
	byHook("working")(t, s, second, other)
	await.Until(t, "another session's working becomes idle", func() bool {
		return watching.row(sessionID(other)).str("status") == "idle"
	})
	if row := watching.row(sessionID(key)); row.str("status") != "dnd" {
		t.Errorf("dnd became idle: %s", row)
	}
}
