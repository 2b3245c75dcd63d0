package daemon

import (
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// TestMailAfterTheClockWasSetBack checks that the session that is active now gets the member's mail,
// even if another one was active at a later time of the clock.
func TestMailAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from, first, second := alice.session().connected(), bob.session().connected(), bob.session().connected()
	bob.down()
	bob.exec(store.FileName, "UPDATE session SET active = active + 3600000 WHERE id = '"+first.id+"'")
	bob.up()
	second.connected()
	bob.must(local.VerbActivity, local.Activity{PID: second.pid(), SessionID: second.id, Status: wire.Idle}, nil)
	from.send("bob", "for whoever is there")
	await.Until(t, "the message has come", func() bool { return bob.status().Meshes[0].Unread == 1 })
	pointer := func(p *program) (text string) {
		var answer local.Pointer
		bob.must(local.VerbActivity, local.Activity{PID: p.pid(), SessionID: p.id, WantPointer: true}, &answer)
		return answer.Pointer
	}
	await.Until(t, "the active session is told", func() bool { return pointer(second) != "" })
}
