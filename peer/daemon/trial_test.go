package daemon

import (
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
)

// TestTrialTakesNoOtherMail checks that a session that exists only for a check gets no mail but
// its own: the member's mail stays unread and does not count as announced.
func TestTrialTakesNoOtherMail(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from := alice.session().connected()
	await.Until(t, "bob's daemon is connected", func() bool { return bob.status().Meshes[0].Connected })
	from.send("bob", "for the member")
	await.Until(t, "the message has come", func() bool { return bob.status().Meshes[0].Unread == 1 })
	trial := bob.session(func(r *local.Register) { r.Trial, r.Name = true, "trial" }).connected()
	trial.register(func(r *local.Register) { r.Name = "trial" }) // as a hook does, which does not know about the trial

	sent := from.send("*", "for all")
	await.Until(t, "both of bob's connections have the message", func() bool {
		var s local.MessageStatus
		from.must(local.VerbMessageStatus, local.MessageQuery{ID: sent.ID}, &s)
		return len(s.Recipients) == 2 && !slices.ContainsFunc(s.Recipients, func(r local.RecipientStatus) bool { return r.State != local.Delivered })
	})
	from.send("trial", "for the trial")
	await.Until(t, "the message has come", func() bool { return bob.status().Sessions[0].Unread == 1 })
	var pointer local.Pointer
	await.Until(t, "there is a pointer", func() bool {
		bob.must(local.VerbActivity, local.Activity{PID: trial.pid(), SessionID: trial.id, Human: true, WantPointer: true}, &pointer)
		return pointer.Pointer != ""
	})
	if !strings.HasPrefix(pointer.Pointer, "1 unread mesh message ") {
		t.Errorf("pointer %q", pointer.Pointer)
	}
	var checked local.Checked
	trial.must(local.VerbCheck, local.Check{ToolUseID: "tool-1"}, &checked)
	if len(checked.Messages) != 1 || checked.Remaining != 0 || checked.Messages[0].Text != "for the trial" {
		t.Errorf("checked: %+v", checked)
	}
	bob.must(local.VerbEnd, local.End{PID: trial.pid(), SessionID: trial.id}, nil)

	b := bob.session().connected()
	await.Until(t, "the next session gets a pointer to the other messages", func() bool {
		bob.must(local.VerbActivity, local.Activity{PID: b.pid(), SessionID: b.id, WantPointer: true}, &pointer)
		return strings.HasPrefix(pointer.Pointer, "2 unread mesh messages ")
	})
	if got := b.texts(2); !slices.Equal(got, []string{"for the member", "for all"}) {
		t.Errorf("got %q", got)
	}
}
