package daemon

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// Possible states of a conversation with regard to a call.
var (
	says = map[string]func(Call) Answered{
		"no conversation": nil,
		"nothing yet":     func(Call) Answered { return Answered{Kept: true} },
		"rejected":        func(Call) Answered { return Answered{Kept: true, Known: true} },
		"shown":           func(c Call) Answered { return Answered{Kept: true, Known: true, Shown: c.Messages} },
		"half of it":      func(c Call) Answered { return Answered{Kept: true, Known: true, Shown: c.Messages[:1]} },
	}
)

// TestWhatBecomesOfMessages checks that a receipt says that the model has the message. A message
// without that proof becomes unread again and is announced again, marked if the model may have seen
// it.
func TestWhatBecomesOfMessages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		says   string
		events []string
		want   [2]string // of the first and of the second message
	}{
		{"it is in the conversation", "shown", nil, [2]string{"read", "read"}},
		{"the user has stopped it", "rejected", nil, [2]string{"unread", "unread"}},
		{"the answer was cut", "half of it", nil, [2]string{"read", "unread"}},
		{"the batch has ended, and the user has stopped it after all", "rejected", []string{"batch"}, [2]string{"unread", "unread"}},
		{"the batch has ended, and no conversation is kept", "no conversation", []string{"batch"}, [2]string{"read", "read"}},
		{"nobody knows, and a turn begins", "nothing yet", []string{"turn"}, [2]string{"unread, maybe seen", "unread, maybe seen"}},
		{"nobody knows, and the program dies", "nothing yet", []string{"kill"}, [2]string{"unread, maybe seen", "unread, maybe seen"}},
		{"the batch has ended, and the program dies", "nothing yet", []string{"batch", "kill"}, [2]string{"unread, maybe seen", "unread, maybe seen"}},
		{"the program dies and leaves a conversation", "shown", []string{"kill"}, [2]string{"read", "read"}},
		{"the program ends", "shown", []string{"end", "kill"}, [2]string{"read", "read"}},
		{"the daemon dies", "nothing yet", []string{"restart", "turn"}, [2]string{"unread, maybe seen", "unread, maybe seen"}},
		{"the daemon dies, and the program goes on", "shown", []string{"restart"}, [2]string{"read", "read"}},
		{"the daemon dies, and the batch ends", "no conversation", []string{"restart", "batch"}, [2]string{"read", "read"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			host := new(fakeHost)
			host.converse(says["nothing yet"])
			_, alice, bob := pair(t)
			alice.up()
			bob.up(host.decides)
			a, b := alice.session().connected(), bob.session().connected()
			key := b.key().String()
			sent := []local.Sent{a.send(key, "one"), a.send(key, "two")}
			await.Until(t, "both messages have come", func() bool { return unread(b) == 2 })
			// While the session works, undecided messages wait for an event, not for the clock.
			host.set(b.pid(), Published{SessionID: b.id, Status: wire.Working})
			await.Until(t, "the session works", func() bool { return bob.doing(b.id) == wire.Working })
			call := uuid.NewString()
			var checked local.Checked
			b.must(local.VerbCheck, local.Check{ToolUseID: call}, &checked)
			if len(checked.Messages) != 2 || checked.Messages[0].MaybeSeen {
				t.Fatalf("got %+v", checked.Messages)
			}
			for _, event := range tc.events {
				if event == "kill" { // nothing more will be written
					host.converse(says[tc.says])
				}
				b.happen(event, call, host)
			}
			host.converse(says[tc.says])
			if slices.Contains(tc.events, "kill") {
				b = bob.program(b.id)
				b.register()
				b.connected()
			}
			left := strings.Count(tc.want[0]+tc.want[1], "unread")
			await.Until(t, "the messages that were not read are unread", func() bool { return unread(b) == left })
			for i, want := range tc.want {
				state := local.InContext
				if want != "read" {
					state = local.Delivered
				}
				a.awaitState(sent[i].ID, state)
			}
			checked = local.Checked{}
			b.must(local.VerbCheck, local.Check{ToolUseID: uuid.NewString()}, &checked)
			for _, m := range checked.Messages {
				want := tc.want[slices.Index([]string{"one", "two"}, m.Text)]
				if m.MaybeSeen != strings.Contains(want, "maybe seen") || want == "read" {
					t.Errorf("%q came again with maybe seen %v, want it %s", m.Text, m.MaybeSeen, want)
				}
			}
		})
	}
}

// TestRestartDuringABatch checks that a daemon that has just started waits for news of a session
// before it decides about the messages that the session took long ago.
func TestRestartDuringABatch(t *testing.T) {
	t.Parallel()
	host := new(fakeHost)
	host.converse(says["nothing yet"])
	_, alice, bob := pair(t)
	alice.up()
	bob.up(host.decides)
	a, b := alice.session().connected(), bob.session().connected()
	sent := a.send(b.key().String(), "one")
	await.Until(t, "it has come", func() bool { return unread(b) == 1 })
	host.set(b.pid(), Published{SessionID: b.id, Status: wire.Working})
	await.Until(t, "the session works", func() bool { return bob.doing(b.id) == wire.Working })
	call := uuid.NewString()
	b.must(local.VerbCheck, local.Check{ToolUseID: call}, &local.Checked{})

	bob.down()
	bob.exec(inbox.FileName, "UPDATE message SET taken_at = taken_at - 3600000 WHERE taken_at IS NOT NULL")
	var looks atomic.Int32
	host.set(b.pid(), Published{})
	host.converse(func(c Call) Answered {
		looks.Add(1)
		return says["nothing yet"](c)
	})
	bob.up(host.decides)
	b.connected()
	await.Until(t, "the daemon has looked a few times", func() bool { return looks.Load() >= 5 || unread(b) > 0 })
	if n := unread(b); n != 0 {
		t.Fatalf("%d messages are unread before the session was heard of", n)
	}
	b.happen("batch", call, host)
	host.converse(says["shown"])
	a.awaitState(sent.ID, local.InContext)
}

// decides makes the conversation and the events decide about messages, however long that takes.
func (h *fakeHost) decides(o *Options) { o.Host, o.doubtAfter = h, time.Hour }

// happen causes an event in the session that has called.
func (p *program) happen(event, call string, host *fakeHost) {
	p.t.Helper()
	a := local.Activity{PID: p.pid(), SessionID: p.id, Status: wire.Working}
	switch event {
	case "batch":
		a.Ended = []string{call}
		p.u.must(local.VerbActivity, a, nil)
	case "turn":
		a.NewTurn, a.Human = true, true
		p.u.must(local.VerbActivity, a, nil)
	case "kill":
		p.kill()
	case "end":
		p.u.must(local.VerbEnd, local.End{PID: p.pid(), SessionID: p.id, Reason: "other"}, nil)
	case "restart":
		p.u.down()
		p.u.up(host.decides)
		p.connected()
	}
}

// TestInterruptedReadIsToldWithTheNextPrompt checks what happens if the user interrupts the model
// when it is about to read: the message does not wake the model again, but the user's next prompt
// announces it.
func TestInterruptedReadIsToldWithTheNextPrompt(t *testing.T) {
	t.Parallel()
	host := new(fakeHost)
	_, alice, bob := pair(t)
	alice.up()
	bob.up(func(o *Options) { o.Host = host })
	a, b := alice.session().connected(), bob.session().connected()
	a.send(b.key().String(), "one")
	await.Until(t, "the message has come", func() bool { return unread(b) == 1 })
	prompt := func() string {
		t.Helper()
		var p local.Pointer
		bob.must(local.VerbActivity, local.Activity{
			PID: b.pid(), SessionID: b.id, Status: wire.Working, NewTurn: true, Human: true, WantPointer: true,
		}, &p)
		if p.Pointer != "" {
			bob.must(local.VerbPrinted, local.Printed{PID: b.pid(), Number: p.Number}, nil)
		}
		return p.Pointer
	}
	await.Until(t, "a prompt announces the message", func() bool { return prompt() != "" })
	// The user interrupts at the permission dialog, before the message is fetched.
	for range 3 {
		if prompt() == "" {
			t.Error("a prompt does not announce the unread message")
		}
	}
	// The user interrupts while the model reads.
	for _, said := range []string{"rejected", "nothing yet"} {
		host.converse(says["nothing yet"])
		b.must(local.VerbCheck, local.Check{ToolUseID: uuid.NewString()}, nil)
		host.converse(says[said])
		if prompt() == "" {
			t.Errorf("%s: the next prompt does not announce the message", said)
		}
	}
	host.converse(says["shown"])
	b.must(local.VerbCheck, local.Check{ToolUseID: uuid.NewString()}, nil)
	if got := prompt(); got != "" {
		t.Errorf("a prompt announces a message that was read: %q", got)
	}
}

// TestCallAfterOneThatWasStopped checks that a call waits until another call's messages are
// decided, if nothing else is unread: the user has stopped the model and asked again.
func TestCallAfterOneThatWasStopped(t *testing.T) {
	t.Parallel()
	host := new(fakeHost)
	host.converse(says["nothing yet"])
	_, alice, bob := pair(t)
	alice.up()
	bob.up(host.decides)
	a, b := alice.session().connected(), bob.session().connected()
	a.send(b.key().String(), "one")
	await.Until(t, "the message has come", func() bool { return unread(b) == 1 })
	b.must(local.VerbCheck, local.Check{ToolUseID: "stopped"}, nil)
	looks := 0
	host.converse(func(c Call) Answered {
		if looks++; c.ToolUse != "stopped" || looks < 3 {
			return Answered{Kept: true}
		}
		return Answered{Kept: true, Known: true}
	})
	var checked local.Checked
	b.must(local.VerbCheck, local.Check{ToolUseID: "next"}, &checked)
	if len(checked.Messages) != 1 || checked.Messages[0].MaybeSeen {
		t.Errorf("got %+v", checked.Messages)
	}
}
