package daemon

import (
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
)

func TestMessageComesIntoTheContext(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	a, b := alice.session().connected(), bob.session().connected()

	sent := a.send("bob-session", "hello bob")
	if sent.State != local.Queued && sent.State != local.Delivered || sent.To != "bob-session" {
		t.Errorf("sent: %+v", sent)
	}
	status := a.awaitState(sent.ID, local.Delivered)
	if len(status.Recipients) != 1 {
		t.Fatalf("recipients: %+v", status.Recipients)
	}
	await.Until(t, "bob's machine has signed a receipt", func() bool {
		return a.awaitState(sent.ID, local.Delivered).Recipients[0].Signed
	})

	var checked local.Checked
	b.must(local.VerbCheck, local.Check{ToolUseID: "tool-1"}, &checked)
	if len(checked.Messages) != 1 || checked.Remaining != 0 {
		t.Fatalf("checked: %+v", checked)
	}
	m := checked.Messages[0]
	if m.Text != "hello bob" || !m.Verified || m.From != "alice-session" || m.Member != "alice" || m.Role != "owner" || m.Mesh != "team" || m.Key != a.key() {
		t.Errorf("message: %+v", m)
	}
	if got := a.awaitState(sent.ID, local.Delivered); got.Recipients[0].State != local.Delivered {
		t.Errorf("before it is in the context: %+v", got)
	}
	bob.must(local.VerbActivity, local.Activity{PID: b.pid(), SessionID: b.id, Ended: []string{"tool-1"}}, nil)
	if got := a.awaitState(sent.ID, local.InContext); !got.Recipients[0].Signed || got.Recipients[0].Key != b.key() {
		t.Errorf("in context: %+v", got)
	}

	checked = local.Checked{}
	b.must(local.VerbCheck, local.Check{}, &checked)
	if len(checked.Messages) != 0 {
		t.Errorf("handed out again: %+v", checked)
	}
	var reply local.Sent
	b.must(local.VerbSend, local.Send{ReplyTo: m.ID, Text: "hello alice"}, &reply)
	if got := a.texts(1); got[0] != "hello alice" || reply.To != "alice-session" {
		t.Errorf("reply: %q to %q", got, reply.To)
	}
}
