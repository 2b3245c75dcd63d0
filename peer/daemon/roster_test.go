package daemon

import (
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/local"
)

// TestOlderRosterDoesNotReplaceANewerOne checks a call that fetches the roster slowly. Meanwhile
// sessions join, and the daemon fetches the roster again. The slow answer must not hide them.
func TestOlderRosterDoesNotReplaceANewerOne(t *testing.T) {
	t.Parallel()
	b, alice, bob := pair(t)
	l := lieTo(b, alice)
	alice.up()
	bob.up()
	model := alice.session().connected()
	online := func() int {
		var u local.Unread
		model.must(local.VerbUnread, nil, &u)
		return u.Peers
	}
	await.Until(t, "bob's daemon is in the roster", func() bool { return online() == 1 })
	l.delay(`"members"`)
	called := make(chan error, 1)
	go func() { called <- model.call(local.VerbPeers, local.PeersQuery{}, nil) }()
	await.Until(t, "the call waits for the members", func() bool { return l.delays() > 0 })
	bob.session().connected()
	bob.session().connected()
	await.Until(t, "bob's sessions are in the roster", func() bool { return online() == 2 })
	l.release()
	if err := <-called; err != nil {
		t.Error(err)
	}
	if n := online(); n != 2 {
		t.Errorf("after the slow answer, %d peers are online; want 2", n)
	}
}
