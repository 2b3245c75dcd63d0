package peer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// sealed makes a direct push.
func sealed(t testing.TB, from identity.KeyPair, to wire.Key, id, client, text string) *wire.Push {
	t.Helper()
	nonce, ciphertext, err := envelope.SealDirect(from, to, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &wire.Push{MessageID: id, ClientID: client, SenderPubkey: from.Public(), Priority: wire.Next, Nonce: nonce, Ciphertext: ciphertext, CreatedAt: time.Now()}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	member, session, alice, eve := newKey(t), newKey(t), newKey(t), newKey(t)
	key := envelope.NewMeshKey()
	c, err := New(Options{Mesh: Mesh{Member: member, BrokerURL: "ws://x/ws", Key: key}, Session: session})
	if err != nil {
		t.Fatal(err)
	}
	inMesh := func(k envelope.MeshKey, version, epoch int64) *wire.Push {
		nonce, ciphertext, err := envelope.SealMesh(k, []byte("text"))
		if err != nil {
			t.Fatal(err)
		}
		return &wire.Push{SenderPubkey: alice.Public(), Nonce: nonce, Ciphertext: ciphertext, BodyVersion: version, KeyEpoch: epoch}
	}
	plain := func(text string) *wire.Push {
		p := inMesh(key, 0, 0)
		p.Ciphertext = base64.StdEncoding.EncodeToString([]byte(text))
		return p
	}
	forged := sealed(t, eve, member.Public(), "m", "", "text")
	forged.SenderPubkey = alice.Public()
	// What the session has sent to Alice comes back as if Alice had sent it.
	reflected := sealed(t, session, alice.Public(), "m", "", "text")
	reflected.SenderPubkey = alice.Public()
	for _, tc := range []struct {
		name string
		push *wire.Push
		want Sealing
		body string
	}{
		{"for the session", sealed(t, alice, session.Public(), "m", "", "text"), Direct, "text"},
		{"for the member", sealed(t, alice, member.Public(), "m", "", "text"), Direct, "text"},
		{"for another", sealed(t, alice, eve.Public(), "m", "", "a text that is long enough"), Unopened, ""},
		{"in another's name", forged, Unopened, ""},
		{"in the mesh", inMesh(key, 2, 1), InMesh, "text"},
		{"in the mesh, no epoch", inMesh(key, 2, 0), InMesh, "text"},
		{"another mesh key", inMesh(envelope.NewMeshKey(), 2, 1), Unopened, ""},
		{"a later mesh key", inMesh(key, 2, 2), Unopened, ""},
		{"no signature in it", inMesh(key, 3, 1), Unopened, ""},
		{"a later version", inMesh(key, 6, 1), Unopened, ""},
		{"plain, marked as sealed with receipts", func() *wire.Push { p := plain("hello"); p.BodyVersion = 4; return p }(), Unopened, ""},
		{"reflected", reflected, Unopened, ""},
		{"plain", plain("hello, all\nof you"), NotEncrypted, "hello, all\nof you"},
		{"plain, with an escape", plain("\x1b[2J"), Unopened, ""},
		{"plain, marked as sealed in the mesh", func() *wire.Push { p := plain("hello"); p.BodyVersion = 2; return p }(), Unopened, ""},
		{"no base64", &wire.Push{SenderPubkey: alice.Public(), Nonce: "?", Ciphertext: "?"}, Unopened, ""},
	} {
		m := c.open(tc.push)
		if m.Sealing != tc.want || string(m.Body) != tc.body || (m.Err != nil) != (tc.want == Unopened) {
			t.Errorf("%s: got %s, %q, %v", tc.name, m.Sealing, m.Body, m.Err)
		}
	}
}

func TestDedupeKey(t *testing.T) {
	t.Parallel()
	a, b := newKey(t).Public(), newKey(t).Public()
	keys := make(map[string]string)
	for name, m := range map[string]Incoming{
		"client id":                {Sender: a, ClientID: "x", MessageID: "1"},
		"no client id":             {Sender: a, MessageID: "x"},
		"another sender":           {Sender: b, ClientID: "x", MessageID: "1"},
		"another client id":        {Sender: a, ClientID: "y", MessageID: "1"},
		"another without a client": {Sender: a, MessageID: "y"},
	} {
		if other, taken := keys[m.DedupeKey()]; taken {
			t.Errorf("%s and %s are the same", name, other)
		}
		keys[m.DedupeKey()] = name
	}
	one := Incoming{Sender: a, Member: b, ClientID: "x", MessageID: "1"}
	two := Incoming{Sender: newKey(t).Public(), Member: b, ClientID: "x", MessageID: "2"}
	if one.DedupeKey() != two.DedupeKey() {
		t.Error("one message sent by two sessions of a member has two dedupe keys")
	}
}

func TestMessagesAreTakenInOrderAndAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := newKey(t)
		acks := make(chan wire.ClientAck, 100)
		var to wire.Key
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			for i := range 5 {
				c.writePush(sealed(t, alice, to, fmt.Sprint("m", i), fmt.Sprint("c", i), fmt.Sprint(i)))
			}
			c.writePush(sealed(t, alice, to, "m2", "c2", "2")) // again
			c.writePush(sealed(t, alice, to, "m5", "", "5"))
			c.write(wire.CaughtUp{Type: wire.TypeCaughtUp})
			for f := range c.framesOf(wire.TypeClientAck) {
				a, err := wire.DecodeClientAck(&f)
				if err != nil {
					t.Error(err)
				}
				acks <- a
			}
		})
		defer stop()
		o := s.options()
		to = o.Mesh.Member.Public()
		var got []string
		o.OnMessage = func(_ context.Context, m Incoming) error { got = append(got, string(m.Body)); return nil }
		caughtUp := make(chan struct{})
		o.OnCaughtUp = func() { close(caughtUp) }
		c := s.dialed(o)
		<-caughtUp
		for i, want := range []wire.ClientAck{{ClientID: "c0", BrokerID: "m0"}, {ClientID: "c1", BrokerID: "m1"}, {ClientID: "c2", BrokerID: "m2"},
			{ClientID: "c3", BrokerID: "m3"}, {ClientID: "c4", BrokerID: "m4"}, {ClientID: "c2", BrokerID: "m2"}, {ClientID: "m5", BrokerID: "m5"}} {
			if a := <-acks; a != want {
				t.Errorf("ack %d: got %+v, want %+v", i, a, want)
			}
		}
		c.Close()
		if strings.Join(got, "") != "012345" {
			t.Errorf("got messages %v", got)
		}
	})
}

// TestMessageThatIsNotTaken checks that the client acknowledges neither a message that it
// could not store nor any message after it. The broker sends all of them again, in order,
// over a new connection.
func TestMessageThatIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := newKey(t)
		var to wire.Key
		acks := make(chan string, 10)
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			for i := range 3 {
				c.writePush(sealed(t, alice, to, fmt.Sprint("m", i), "", fmt.Sprint(i)))
			}
			for f := range c.framesOf(wire.TypeClientAck) {
				a, _ := wire.DecodeClientAck(&f)
				acks <- a.BrokerID
			}
		})
		defer stop()
		o := s.options()
		to = o.Mesh.Member.Public()
		full := true
		var got []string
		o.OnMessage = func(_ context.Context, m Incoming) error {
			if m.MessageID == "m1" && full {
				full = false
				return errors.New("disk full")
			}
			got = append(got, m.MessageID)
			return nil
		}
		c := s.dialed(o)
		time.Sleep(10 * time.Second)
		c.Close()
		var acked []string
		for range 4 {
			acked = append(acked, <-acks)
		}
		if strings.Join(got, " ") != "m0 m1 m2" {
			t.Errorf("got messages %v", got)
		}
		if strings.Join(acked, " ") != "m0 m0 m1 m2" {
			t.Errorf("acknowledged: %v", acked)
		}
		if s.connects() != 2 {
			t.Errorf("%d connects", s.connects())
		}
	})
}

func TestSystemPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			c.write(wire.SystemPush{Type: wire.TypePush, Subtype: wire.SubtypeSystem, Event: wire.EventPeerJoined, MessageID: "m", EventData: wire.EventData{Name: "bob"}})
			c.drain()
		})
		defer stop()
		events := make(chan wire.SystemPush, 1)
		o := s.options()
		o.OnSystem = func(p wire.SystemPush) { events <- p }
		c := s.dialed(o)
		if p := <-events; p.Event != wire.EventPeerJoined || p.EventData.Name != "bob" {
			t.Errorf("got %+v", p)
		}
		c.Close()
	})
}

func TestSeenSetForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var s seenSet
	for i := range seenSize + 10 {
		s.add(fmt.Sprint(i))
	}
	if s.has("9") || !s.has("10") || !s.has(fmt.Sprint(seenSize+9)) || len(s.keys) != seenSize || len(s.ring) != seenSize {
		t.Errorf("%d keys, %d in the ring", len(s.keys), len(s.ring))
	}
}
