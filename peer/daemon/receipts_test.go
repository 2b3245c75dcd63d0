package daemon

import (
	"testing"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
)

// TestReceiptOfASuccessor checks that a sender learns that the successor of a session has read a
// message whose delivery the session had confirmed before it was cleared.
func TestReceiptOfASuccessor(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	a, p := alice.session().connected(), bob.session().connected()
	sent := a.send(p.key().String(), "one")
	await.Until(t, "bob's session has confirmed the delivery", func() bool {
		status := a.awaitState(sent.ID, local.Delivered)
		return status.Recipients[0].Signed
	})
	bob.must(local.VerbEnd, local.End{PID: p.pid(), SessionID: p.id, Reason: "clear"}, nil)
	p.id = uuid.NewString()
	p.register(func(r *local.Register) { r.Source = local.SourceClear })
	p.connected()
	p.texts(1)
	status := a.awaitState(sent.ID, local.InContext)
	if len(status.Recipients) != 1 || status.Recipients[0].Key != p.key() || !status.Recipients[0].Signed {
		t.Errorf("recipients: %+v", status.Recipients)
	}
}

// TestReceiptsOfAnEndedSession checks that senders get the receipts of a session that has ended
// while the broker was away.
func TestReceiptsOfAnEndedSession(t *testing.T) {
	t.Parallel()
	host := new(fakeHost)
	host.converse(says["shown"])
	b, alice, bob := pair(t)
	alice.up()
	bob.up(host.decides)
	from, to := alice.session().connected(), bob.session().connected()
	sent := from.send(to.key().String(), "one")
	await.Until(t, "the message has come", func() bool { return unread(to) == 1 })
	b.Stop()
	await.Until(t, "the broker is away", func() bool { return !bob.status().Sessions[0].Meshes[0].Connected })
	to.must(local.VerbCheck, local.Check{ToolUseID: uuid.NewString()}, nil)
	to.kill()
	await.Until(t, "the session has ended", func() bool { return len(bob.live()) == 0 })
	b.Restart()
	from.awaitState(sent.ID, local.InContext)
}
