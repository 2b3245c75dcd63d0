package claude

import (
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestExchange sends a message and an answer. The message wakes an idle session, and its
// sender learns that it was read.
func TestExchange(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		carol.oneEach(1)
		a, b := alice.launch(), bob.launch()
		if r := carol.awaitRow(a, "idle"); !r.Verified || r.DisplayName != "alice" {
			t.Errorf("carol sees %+v", r)
		}
		carol.awaitRow(b, "idle")
		id := w.say(a, "bob", "is <the> build & green?")
		w.awaitReceived(b.ID(), "is &lt;the&gt; build &amp; green?")
		got := w.frames(b.ID())[0]
		if got.attribute("from") != "alice" || got.attribute("verified") != "yes" || got.attribute("sealed") != "direct" {
			t.Errorf("bob's model got %+v", got)
		}
		await.Until(t, "alice knows that it was read", func() bool {
			return strings.Contains(w.use(a, tool+"message_status", `{"id":"`+id+`"}`).Text, "in the recipient's context")
		}, a.Screen)
		w.say(b, "", "it is", `"reply_to":"`+got.attribute("id")+`"`)
		w.awaitReceived(a.ID(), "it is")
		// Also in the middle of a turn.
		a.Ask("ok")
		w.say(b, "alice", "now for something else", `"priority":"now"`)
		w.awaitReceived(a.ID(), "it is", "now for something else")
		if list := w.use(a, tool+"list_peers", "{}"); !strings.Contains(list.Text, `"bob"`) {
			t.Errorf("list_peers: %s", list.Text)
		}
		if code := a.Exit(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}

// TestReturn sends messages to an absent session. When it returns, it must get exactly these
// messages, in order.
func TestReturn(t *testing.T) {
	tests := []struct {
		name  string
		while func(w *world, bob *person) // what happens while bob is away
		back  func(id string) []string    // claude's arguments for the return
	}{
		{"resume", func(*world, *person) {}, resume},
		{"continue", func(*world, *person) {}, func(string) []string { return []string{"--continue"} }},
		{"restart of the broker", func(w *world, _ *person) { w.broker.Stop(); w.broker.Start() }, resume},
		{"kill of the broker", func(w *world, _ *person) { w.broker.Kill(); w.broker.Start() }, resume},
		{"kill of the daemon", func(_ *world, bob *person) { bob.killDaemon() }, resume},
	}
	everywhere(t, func(t *testing.T, w *world) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				comeBack(t, newWorld(t, w.program), test.while, test.back)
			})
		}
	})
}

func comeBack(t *testing.T, w *world, while func(*world, *person), back func(id string) []string) {
	alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
	carol.oneEach(1)
	a, b := alice.launch(), bob.launch()
	carol.awaitRow(b, "idle")
	w.say(a, "bob", "before")
	id := b.ID()
	w.awaitReceived(id, "before")
	key := carol.awaitRow(b, "idle").Pubkey // after the turn there is a transcript

	b.Kill()
	w.say(a, "bob", "one")
	while(w, bob)
	w.say(a, "bob", "two")
	w.say(a, "bob", "three")
	b = bob.launch(back(id)...)
	if b.ID() != id {
		t.Fatalf("bob is back as %s, was %s", b.ID(), id)
	}
	w.awaitReceived(id, "before", "one", "two", "three")
	w.say(a, "bob", "after")
	w.awaitReceived(id, "before", "one", "two", "three", "after")
	if r := carol.awaitRow(b, "idle"); r.Pubkey != key {
		t.Error("bob is back with another key")
	}
}

func resume(id string) []string { return []string{"--resume", id} }

// TestDaemonKilled kills a daemon while its sessions run. Messages that are sent meanwhile
// must arrive without any action of the user.
func TestDaemonKilled(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		carol.oneEach(1)
		a, b := alice.launch(), bob.launch()
		carol.awaitRow(b, "idle")
		w.say(a, "bob", "before")
		w.awaitReceived(b.ID(), "before")
		bob.killDaemon()
		for _, text := range []string{"one", "two", "three"} {
			w.say(a, "bob", text)
		}
		w.awaitReceived(b.ID(), "before", "one", "two", "three")
		// The sender's daemon must send the messages that it accepted.
		alice.killDaemon()
		w.say(a, "bob", "four")
		w.awaitReceived(b.ID(), "before", "one", "two", "three", "four")
	})
}

// TestClear tests /clear, which starts a new session with a new key. The new session must get
// the messages to the old one.
func TestClear(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		carol.oneEach(1)
		a, b := alice.launch(), bob.launch()
		old := carol.awaitRow(b, "idle")
		w.say(b, "alice", "hello")
		w.awaitReceived(a.ID(), "hello")
		reply := `"reply_to":"` + w.frames(a.ID())[0].attribute("id") + `"`
		next := b.Clear()
		row := carol.awaitRow(b, "idle")
		if row.Pubkey == old.Pubkey || row.SessionID != next {
			t.Errorf("after /clear carol sees %+v", row)
		}
		// Sealed for the old key.
		for _, text := range []string{"one", "two", "three"} {
			w.say(a, "", text, reply)
		}
		w.awaitReceived(next, "one", "two", "three")
		carol.awaitRow(b, "idle") // after the turn there is a transcript

		// The same while the new session is absent.
		b.Kill()
		for _, text := range []string{"four", "five", "six"} {
			w.say(a, "", text, reply)
		}
		b = bob.launch("--resume", next)
		w.awaitReceived(next, "one", "two", "three", "four", "five", "six")
		if r := carol.awaitRow(b, "idle"); r.Pubkey != row.Pubkey {
			t.Error("back with another key")
		}
	})
}

// TestFork checks that a fork is a separate peer.
func TestFork(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob, carol := w.person("alice"), w.person("bob"), w.person("carol")
		carol.oneEach(2)
		a, b := alice.launch(), bob.launch()
		first := carol.awaitRow(b, "idle")
		w.say(a, first.Pubkey, "to the first")
		w.awaitReceived(b.ID(), "to the first")
		f := bob.launch("--resume", b.ID(), "--fork-session")
		fork := carol.awaitRow(f, "idle")
		if fork.Pubkey == first.Pubkey || fork.SessionID == first.SessionID || fork.MemberPubkey != first.MemberPubkey {
			t.Errorf("carol sees %+v and %+v", first, fork)
		}
		carol.awaitRow(b, "idle")
		w.say(a, fork.Pubkey, "to the fork")
		w.say(a, first.Pubkey, "to the first again")
		w.awaitReceived(f.ID(), "to the first", "to the fork") // the fork includes the earlier conversation
		w.awaitReceived(b.ID(), "to the first", "to the first again")
	})
}

// TestBurst checks that no message of a burst causes more than one pointer. Package attention has
// the tests of when one pointer announces several messages, which depends on the time.
func TestBurst(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		alice, bob := w.person("alice"), w.person("bob")
		a, b := alice.launch(), bob.launch()
		alice.awaitRow(b, "idle")
		// They reach bob's daemon at the same time, however long alice's model takes to write
		// them.
		pid := bob.daemonPID()
		bob.signal(pid, syscall.SIGSTOP)
		a.Ask(strings.Repeat(`[[tool `+sendTool+` {"to":"bob","message":"one of five"}]]`, 5))
		bob.signal(pid, syscall.SIGCONT)
		w.awaitReceived(b.ID(), "one of five", "one of five", "one of five", "one of five", "one of five")
		b.Ask("something else")
		pointers := 0
		for _, text := range w.api.Said(b.ID()) {
			pointers += len(pointer.FindAllString(text.Text, -1))
		}
		if pointers < 1 || pointers > 5 {
			t.Errorf("five messages caused %d pointers; want one to five", pointers)
		}
	})
}

var pointer = regexp.MustCompile(`\d+ unread mesh messages? from [^\n]*check_messages`)
