package broker_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

// slowAtFirst is a storage that holds up the first call of LastPresence.
type slowAtFirst struct {
	*sqlite.Store
	later      atomic.Bool
	asked, end chan struct{}
}

func (s *slowAtFirst) LastPresence(ctx context.Context, mesh wire.ID, id presence.Identity) (presence.Record, bool, error) {
	if !s.later.Swap(true) {
		close(s.asked)
		<-s.end
	}
	return s.Store.LastPresence(ctx, mesh, id)
}

// TestHelloThatWasHeldUpDisturbsNobody checks that a session that gave up on a hello and
// came back over another connection keeps that connection, although the broker serves the
// first hello after it.
func TestHelloThatWasHeldUpDisturbsNobody(t *testing.T) {
	t.Parallel()
	store := openNew(t)
	slow := &slowAtFirst{Store: store, asked: make(chan struct{}), end: make(chan struct{})}
	s := serve(t, store, slow, nil)
	m, keys := s.owner(), newKeys(t)
	goOn := sync.OnceFunc(func() { close(slow.end) })
	defer goOn() // otherwise a failure would keep the broker from stopping
	first := s.dial()
	first.send(sessionHello(m, keys, "me"))
	<-slow.asked
	second := s.session(m, keys, "me")
	goOn()
	if reason := first.closed(); reason != wire.ReasonReplaced {
		t.Errorf("the first connection was closed with %q, want %q", reason, wire.ReasonReplaced)
	}
	second.wantPeers("me")
}
