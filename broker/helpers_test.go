package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/wire"
)

// newestHello is the time of the newest hello, in milliseconds.
var newestHello atomic.Int64

// helloTime returns the time for a hello. No two hellos have the same time: they could be identical,
// and the broker would refuse the second one as a replay.
func helloTime() time.Time {
	for at := time.Now().UnixMilli(); ; {
		last := newestHello.Load()
		if at = max(at, last+1); newestHello.CompareAndSwap(last, at) {
			return time.UnixMilli(at)
		}
	}
}

// join adds another member to m's mesh.
func (s *server) join(m member) member { s.t.Helper(); return s.joinAs(m, "Guest") }

// joinAs adds a member with a name to m's mesh.
func (s *server) joinAs(m member, name string) member {
	s.t.Helper()
	keys := newKeys(s.t)
	owner := s.dial()
	ts, sig := identity.SignHello(m.keys, m.mesh, m.member, helloTime())
	owner.send(frame{
		"type": "hello", "meshId": m.mesh, "memberId": m.member, "pubkey": m.keys.Public().String(), "sessionId": "invites",
		"pid": 1, "cwd": "/", "timestamp": ts, "signature": sig.String(), "capabilities": []string{wire.CapTransient},
	})
	owner.next("hello_ack")
	proof := keys.Public().String() // stands in for the hash of a token
	owner.send(frame{"type": "invite_create", "_reqId": "i", "role": "member", "uses": 1,
		"expiresAt": time.Now().Add(time.Hour).UnixMilli(), "tokenProof": proof})
	owner.next("invite_created")
	id, _, err := s.Join(context.Background(), wire.Join{TokenProof: proof, PeerPubkey: keys.Public().String(), DisplayName: name})
	if err != nil {
		s.t.Fatal(err)
	}
	return member{keys, m.mesh, id}
}

// peers returns the rows of the roster by display name.
func (c *client) peers() map[string]frame {
	c.t.Helper()
	c.send(frame{"type": "list_peers", "_reqId": "q"})
	rows := make(map[string]frame)
	for _, row := range c.next("peers_list")["peers"].([]any) {
		rows[row.(frame)["displayName"].(string)] = row.(frame)
	}
	return rows
}

func (c *client) wantPeers(names ...string) {
	c.t.Helper()
	rows := c.peers()
	if len(rows) != len(names) {
		c.t.Fatalf("got %d peers, want %v: %v", len(rows), names, rows)
	}
	for _, name := range names {
		if rows[name] == nil {
			c.t.Fatalf("%s is not in the roster: %v", name, rows)
		}
	}
}

// closed waits until the connection is closed, and returns the reason.
func (c *client) closed() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	for {
		if _, _, err := c.ws.Read(ctx); err != nil {
			var e websocket.CloseError
			if errors.As(err, &e) {
				return e.Reason
			}
			c.t.Fatalf("the connection ended without a close frame: %v", err)
		}
	}
}

// news returns the next n system pushes as "event name".
func (c *client) news(n int) []string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), await.Patience)
	defer cancel()
	var list []string
	for len(list) < n {
		_, data, err := c.ws.Read(ctx)
		if err != nil {
			c.t.Fatalf("waiting for news after %v: %v", list, err)
		}
		var f struct {
			Event string
			Data  struct{ Name string } `json:"eventData"`
		}
		if err := json.Unmarshal(data, &f); err != nil {
			c.t.Fatal(err)
		}
		if f.Event != "" {
			list = append(list, f.Event+" "+f.Data.Name)
		}
	}
	return list
}

// tell sends a message and waits until it is safe.
func (c *client) tell(n int, to wire.Key) {
	c.t.Helper()
	c.send(message(n, to, 100))
	if ack := c.next("ack"); ack["queued"] != true {
		c.t.Fatalf("got ack %v, want queued", ack)
	}
}

// gets reads the pushes of the messages with these numbers, in order, and acknowledges them.
func (c *client) gets(numbers ...int) {
	c.t.Helper()
	for _, n := range numbers {
		push := c.next("push")
		if push["client_message_id"] != fmt.Sprint("m", n) {
			c.t.Fatalf("got push %v, want m%d", push["client_message_id"], n)
		}
		c.send(frame{"type": "client_ack", "brokerMessageId": push["messageId"], "clientMessageId": push["client_message_id"]})
	}
}

// delivered waits until a message that c sent with tell is delivered.
func (c *client) delivered(n int) {
	c.t.Helper()
	c.send(message(n, newKeys(c.t).Public(), 100)) // a repetition: the ack has the first one's id
	id := c.next("ack")["messageId"]
	for end := time.Now().Add(await.Patience); time.Now().Before(end); {
		c.send(frame{"type": "message_status", "messageId": id, "_reqId": "s"})
		if c.next("message_status_result")["delivered"] == true {
			return
		}
	}
	c.t.Fatalf("m%d is not delivered", n)
}
