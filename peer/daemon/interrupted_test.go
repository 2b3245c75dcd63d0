package daemon

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
)

// refuse makes a database of the user's refuse a write, as a full disk does, until the caller
// calls end. The write is an event in the words of CREATE TRIGGER.
func (u *user) refuse(file, event string) (end func()) {
	u.t.Helper()
	u.exec(file, "CREATE TRIGGER no_room BEFORE "+event+" BEGIN SELECT RAISE(ABORT, 'no room'); END")
	return func() {
		u.t.Helper()
		u.exec(file, "DROP TRIGGER no_room")
	}
}

// TestDecisionThatCannotBeStored checks that the daemon decides again about messages that were
// handed out if it could not store its decision.
func TestDecisionThatCannotBeStored(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file, event, says string
		want                    local.State
	}{
		{"read", inbox.FileName, "UPDATE OF context_at ON message", "shown", local.InContext},
		{"the receipt", store.FileName, "INSERT ON confirmation WHEN NEW.state = 'in_context'", "shown", local.InContext},
		{"unread", inbox.FileName, "UPDATE OF taken_at ON message WHEN NEW.taken_at IS NULL", "rejected", local.Delivered},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			host := new(fakeHost)
			host.converse(says["nothing yet"])
			_, alice, bob := pair(t)
			alice.up()
			var log lockedBuffer
			bob.up(host.decides, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
			a, b := alice.session().connected(), bob.session().connected()
			sent := a.send(b.key().String(), "one")
			await.Until(t, "the message has come", func() bool { return unread(b) == 1 })
			b.must(local.VerbCheck, local.Check{ToolUseID: uuid.NewString()}, nil)
			end := bob.refuse(tc.file, tc.event)
			host.converse(says[tc.says])
			await.Until(t, "the daemon can't store its decision", func() bool { return strings.Contains(log.String(), "no room") })
			end()
			a.awaitState(sent.ID, tc.want)
			if tc.want == local.Delivered {
				await.Until(t, "the message is unread", func() bool { return unread(b) == 1 })
			}
		})
	}
}

// withMail starts the daemons of two users, and returns the second with a session that has one unread
// message, for its successor.
func withMail(t *testing.T) (bob *user, p *program) {
	t.Helper()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	a, p := alice.session().connected(), bob.session().connected()
	a.send(p.key().String(), "for the successor")
	await.Until(t, "the message has come", func() bool { return unread(p) == 1 })
	return bob, p
}

// TestHandOverThatFails checks that the successor of a cleared session gets its mail also if the
// hand-over fails at first and the successor is cleared in the meantime.
func TestHandOverThatFails(t *testing.T) {
	t.Parallel()
	bob, p := withMail(t)
	end := bob.refuse(inbox.FileName, "UPDATE OF session ON message")
	for range 2 {
		bob.must(local.VerbEnd, local.End{PID: p.pid(), SessionID: p.id, Reason: "clear"}, nil)
		p.id = uuid.NewString()
		p.register(func(r *local.Register) { r.Source = local.SourceClear })
	}
	end()
	if got := p.texts(1); !slices.Equal(got, []string{"for the successor"}) {
		t.Errorf("the last successor got %q", got)
	}
}

// TestEndThatCannotBeStored checks that a hook may repeat its report of a clear if the daemon could
// not store it.
func TestEndThatCannotBeStored(t *testing.T) {
	t.Parallel()
	bob, p := withMail(t)
	over := local.End{PID: p.pid(), SessionID: p.id, Reason: "clear"}
	p.id = uuid.NewString()
	p.register()
	for _, event := range []string{"INSERT ON succession", "DELETE ON earlier"} {
		end := bob.refuse(store.FileName, event)
		if err := bob.owner(local.VerbEnd, over, nil); err == nil {
			t.Errorf("%s failed, but the hook was told that all is well", event)
		}
		end()
	}
	bob.must(local.VerbEnd, over, nil)
	if got := p.texts(1); !slices.Equal(got, []string{"for the successor"}) {
		t.Errorf("the successor got %q", got)
	}
}

// TestUnsentMessagesDoNotCount checks that messages that the broker refuses, or that the daemon could not
// store, don't count as exchanged, however many there are: the session may still send.
func TestUnsentMessagesDoNotCount(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from, to := alice.session().connected(), bob.session().connected()
	const many = 30 // more than a session may send without a prompt
	fail := func(to, says string) {
		t.Helper()
		for i := range many {
			err := from.call(local.VerbSend, local.Send{To: to, Text: "x"}, nil)
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Fatalf("send %d to %s: %v, want %s", i, to, err, says)
			}
		}
	}
	fail("@nogroup", "there is no group")
	key := to.key().String()
	end := alice.refuse(store.FileName, "INSERT ON outbox")
	fail(key, "the call failed inside the daemon")
	end()
	from.send(key, "y")
}
