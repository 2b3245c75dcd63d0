package daemon

import (
	"fmt"
	"slices"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
)

func TestSentMessageSurvivesKills(t *testing.T) {
	t.Parallel()
	b, alice, bob := pair(t)
	bob.up()
	to := bob.session().connected()
	key := to.key().String()
	alice.upAsChild()
	from := alice.session().connected()
	b.Stop()
	var ids, want []string
	for i := range 3 {
		text := fmt.Sprintf("message %d", i)
		sent := from.send(key, text)
		if sent.State != local.Waiting {
			t.Errorf("%s is %s without a broker", text, sent.State)
		}
		ids, want = append(ids, sent.ID), append(want, text)
		alice.kill()
		alice.upAsChild()
	}
	if n := alice.status().Outbox; n != 3 {
		t.Errorf("%d messages wait", n)
	}
	b.Restart()
	if got := to.texts(3); !slices.Equal(got, want) {
		t.Errorf("bob got %q", got)
	}
	for _, id := range ids {
		from.awaitState(id, local.InContext)
	}
}

func TestSentMessageSurvivesTheEndOfItsSession(t *testing.T) {
	t.Parallel()
	b, alice, bob := pair(t)
	bob.up()
	to := bob.session().connected()
	key := to.key().String()
	alice.up()
	from := alice.session().connected()
	b.Stop()
	from.send(key, "last words")
	from.kill()
	await.Until(t, "the session has ended", func() bool { return len(alice.live()) == 0 })
	b.Restart()
	var checked local.Checked
	await.Until(t, "the message has come", func() bool {
		to.must(local.VerbCheck, local.Check{}, &checked)
		return len(checked.Messages) > 0
	})
	if m := checked.Messages[0]; m.Text != "last words" || !m.Verified || m.Member != "alice" {
		t.Errorf("got %+v", m)
	}
}

// TestReceivedMessagesSurviveKills checks that a recipient whose daemon is killed again and
// again gets every message once.
func TestReceivedMessagesSurviveKills(t *testing.T) {
	t.Parallel()
	const n = 60
	_, alice, bob := pair(t)
	alice.up()
	from := alice.session().connected()
	bob.upAsChild()
	to := bob.session().connected()
	key := to.key().String()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			if err := from.call(local.VerbSend, local.Send{To: key, Text: fmt.Sprint(i), Priority: "now"}, nil); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
			// A user writes prompts, so that the loop limit lets the flood pass.
			if err := alice.owner(local.VerbActivity, local.Activity{PID: from.pid(), SessionID: from.id, Human: true}, nil); err != nil {
				t.Errorf("activity: %v", err)
			}
		}
	}()
	for range 5 {
		bob.kill()
		bob.upAsChild()
		to.connected()
	}
	<-sent
	var got []string
	await.Until(t, "all messages have come", func() bool {
		var checked local.Checked
		to.must(local.VerbCheck, local.Check{ToolUseID: "t" + fmt.Sprint(len(got))}, &checked)
		for _, m := range checked.Messages {
			got = append(got, m.Text)
		}
		return len(got) >= n
	})
	for i, text := range got {
		if text != fmt.Sprint(i) {
			t.Fatalf("message %d is %q: %s", i, text, lines(got))
		}
	}
}

func TestTakenMessageIsUnreadAgain(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"process dies", "daemon and process die"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			_, alice, bob := pair(t)
			alice.up()
			from := alice.session().connected()
			bob.upAsChild()
			to := bob.session().connected()
			sent := from.send(to.key().String(), "read me")
			await.Until(t, "the message has come", func() bool { return unread(to) == 1 })
			var checked local.Checked
			to.must(local.VerbCheck, local.Check{ToolUseID: "tool-1"}, &checked)
			if len(checked.Messages) != 1 {
				t.Fatalf("got %+v", checked)
			}
			id, err := process.Of(to.pid())
			if err != nil {
				t.Fatal(err)
			}
			if how != "process dies" {
				bob.kill()
			}
			to.kill()
			gone(t, id)
			if how != "process dies" {
				bob.upAsChild()
			}
			again := bob.program(to.id)
			again.register(func(r *local.Register) { r.Source = local.SourceResume })
			if got := again.texts(1); got[0] != "read me" {
				t.Errorf("got %q", got)
			}
			from.awaitState(sent.ID, local.InContext)
		})
	}
}

func TestSessionComesBackAfterItsDaemonsDeath(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	from := alice.session().connected()
	bob.upAsChild()
	to := bob.session(func(r *local.Register) { r.Title = "a title" }).connected()
	key := to.key()
	ticket, err := local.ReadTicket(bob.dir, to.pid())
	if err != nil {
		t.Fatal(err)
	}
	bob.kill()
	for i := range 3 {
		from.send(key.String(), fmt.Sprint(i))
	}
	bob.upAsChild()
	to.connected()
	if got := to.texts(3); to.key() != key || !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("got %q", got)
	}
	again, err := local.ReadTicket(bob.dir, to.pid())
	if err != nil || again != ticket {
		t.Errorf("the ticket has changed: %v", err)
	}
	if s := bob.status().Sessions; s[0].Title != "a title" || s[0].Cwd != "/home/bob" {
		t.Errorf("session: %+v", s[0])
	}
	if got := alice.inRoster(); len(got) != 2 {
		t.Errorf("roster: %v", got)
	}
}
