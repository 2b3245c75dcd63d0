package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

// slowToRead is a storage. A test can hold up the reading of mailboxes.
type slowToRead struct {
	*sqlite.Store
	mu   sync.Mutex
	free chan struct{} // closed while reads are not held up
}

func (s *slowToRead) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = make(chan struct{})
}

func (s *slowToRead) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.free)
}

func (s *slowToRead) Backlog(ctx context.Context, box queue.Mailbox, after int64, urgentOnly bool, limit int) ([]queue.Waiting, error) {
	s.mu.Lock()
	free := s.free
	s.mu.Unlock()
	select {
	case <-free:
		return s.Store.Backlog(ctx, box, after, urgentOnly, limit)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestAcknowledgementCountsWhenTheMailboxCameBack moves a mailbox from a live connection
// to another one and back when that one ends. It checks that an acknowledgement of the
// first connection counts before the storage has been read again.
func TestAcknowledgementCountsWhenTheMailboxCameBack(t *testing.T) {
	t.Parallel()
	// Each case returns the key that alice writes to, the connection that gets her messages,
	// and a function that connects another one, which takes the mailbox over.
	cases := map[string]func(s *server, m member) (to identity.KeyPair, first *client, other func() *client){
		"of a member": func(s *server, m member) (identity.KeyPair, *client, func() *client) {
			first := s.session(m, newKeys(s.t), "first")
			return m.keys, first, func() *client { return s.session(m, newKeys(s.t), "other") }
		},
		"of an older session": func(s *server, m member) (identity.KeyPair, *client, func() *client) {
			old, next := newKeys(s.t), newKeys(s.t)
			s.session(m, old, "other")
			first := s.session(m, next, "first", succession(m, old, next))
			return old, first, func() *client { return s.session(m, old, "other") }
		},
	}
	for name, prepare := range cases {
		for _, pushedTwice := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, pushed twice %t", name, pushedTwice), func(t *testing.T) {
				t.Parallel()
				store := openNew(t)
				slow := &slowToRead{Store: store, free: make(chan struct{})}
				slow.release()
				s := serve(t, store, slow, nil)
				owner := s.owner()
				to, first, other := prepare(s, s.join(owner))
				alice := s.session(owner, newKeys(t), "alice")
				alice.tell(1, to.Public())
				push := first.next("push")

				if !pushedTwice {
					slow.hold()
				}
				second := other()
				if pushedTwice {
					second.next("push")
					slow.hold()
				}
				if err := second.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Fatal(err)
				}
				for last := ""; last != "peer_left other"; last = alice.news(1)[0] {
				}
				first.send(frame{"type": "client_ack", "brokerMessageId": push["messageId"]})
				alice.delivered(1)
				slow.release()
				alice.tell(2, to.Public())
				first.gets(2)
			})
		}
	}
}
