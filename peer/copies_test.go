package peer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// toEverybody is a message to everybody.
func toEverybody() Outgoing {
	return Outgoing{To: everybody, Body: []byte("secret"), Priority: wire.Now, ReplyTo: "m0"}
}

// ackWith sends an ack unchanged.
func (c *serverConn) ackWith(a wire.Ack) {
	c.ws.Write(context.Background(), websocket.MessageText, a.AppendJSON(nil))
}

// vouch returns a row of an ack for a session that a member attests.
func vouch(name string, member, session identity.KeyPair, expires time.Time) wire.Unopened {
	word := identity.Attest(member, session.Public(), expires)
	return wire.Unopened{Pubkey: session.Public(), MemberPubkey: member.Public(), Name: name, Attestation: &wire.Attestation{
		SessionPubkey: session.Public().String(), ParentMemberPubkey: member.Public().String(), ExpiresAt: word.ExpiresAt, Signature: word.Signature.String(),
	}}
}

// TestCopies checks that a peer that can't open a message to many gets a copy that only it
// can open, if it is the peer that the broker says it is.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sends := make(chan wire.Send, 10)
		bob, carol, claude, mallory, old := newKey(t), newKey(t), newKey(t), newKey(t), newKey(t)
		forged := vouch("mallory", carol, mallory, time.Now().Add(time.Hour))
		forged.Attestation.Signature = vouch("", mallory, mallory, time.Now().Add(time.Hour)).Attestation.Signature
		unopened := []wire.Unopened{
			{Pubkey: bob.Public(), MemberPubkey: bob.Public(), Name: "bob"},
			vouch("claude", carol, claude, time.Now().Add(time.Hour)),
			vouch("old", carol, old, time.Now().Add(-time.Hour)), // valid when it connected
			{Pubkey: mallory.Public(), MemberPubkey: carol.Public(), Name: "mallory"},
			forged,
		}
		s, stop := newScripted(t, answering(func(c *serverConn, m wire.Send) {
			sends <- m
			a := wire.Ack{ID: m.ID, MessageID: "m-" + m.ClientID, Queued: true}
			switch {
			case m.Targets[0].Kind == wire.TargetAll:
				a.Unopened, a.MoreUnopened = unopened, 3
			case m.Targets[0].Key == bob.Public():
				a = wire.Ack{ID: m.ID, Error: "forbidden: blocked"}
			}
			c.ackWith(a)
		}))
		defer stop()
		o := s.options()
		c := s.dialed(o)
		r, err := c.Send(t.Context(), toEverybody())
		if err != nil {
			t.Fatal(err)
		}
		first := <-sends
		for i, k := range []identity.KeyPair{bob, claude, old} {
			m := <-sends
			if body, err := envelope.OpenDirect(k, o.Mesh.Member.Public(), m.Nonce, m.Ciphertext); err != nil || string(body) != "secret" {
				t.Errorf("copy %d: %q, %v", i, body, err)
			}
			if m.TargetSpec != k.Public().String() || m.ClientID != wire.CopyID(first.ClientID, k.Public()) || m.BodyVersion != wire.BodyCopy ||
				m.Priority != wire.Now || m.ReplyTo != "m0" {
				t.Errorf("copy %d: %+v", i, m)
			}
		}
		if len(sends) != 0 {
			t.Errorf("sent a copy to a key without an attestation: %+v", <-sends)
		}
		for i, want := range []string{"forbidden: blocked", "", "", doubtNoAttestation, doubtBadAttestation} {
			if got := r.Copies[i]; got.Reason != want || got.Key != unopened[i].Pubkey {
				t.Errorf("copy %d: %+v, want reason %q", i, got, want)
			}
		}
		if text := r.Unreached(); !strings.Contains(text, "bob (forbidden: blocked)") || !strings.Contains(text, "3 more") || strings.Contains(text, "claude") {
			t.Errorf("unreached: %s", text)
		}
		c.Close()
	})
}

// TestCopiesOfARepeatedMessage checks that if the ack of a message is lost, the client
// repeats the message and then sends only the missing copies.
func TestCopiesOfARepeatedMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sends := make(chan wire.Send, 10)
		carol, claude, gone := newKey(t), newKey(t), newKey(t)
		u := vouch("claude", carol, claude, time.Now().Add(time.Hour))
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			for f := range c.frames() {
				switch f.Type {
				case wire.TypeSend:
					m, err := wire.DecodeSend(&f)
					if err != nil {
						t.Error(err)
					}
					sends <- m
					c.ackWith(wire.Ack{ID: m.ID, MessageID: "first", Queued: true, Repeated: m.Targets[0].Kind == wire.TargetAll})
				case wire.TypeMessageStatus:
					c.write(wire.MessageStatusResult{Type: wire.TypeMessageStatusResult, MessageID: "first", ReqID: f.ReqID, Recipients: []wire.RecipientStatus{
						{Name: "has it", Pubkey: carol.Public(), Status: wire.RecipientDelivered, State: "delivered"},
						{Name: "claude", Pubkey: claude.Public(), Status: wire.RecipientDisconnected, State: wire.StateUnopened},
						{Name: "gone", Pubkey: gone.Public(), Status: wire.RecipientDisconnected, State: wire.StateUnopened},
					}})
				case wire.TypeListPeers:
					c.write(wire.PeersList{Type: wire.TypePeersList, ReqID: f.ReqID, Peers: []wire.PeerRow{
						{Pubkey: u.Pubkey, MemberPubkey: u.MemberPubkey, Attestation: u.Attestation, DisplayName: "claude"},
					}})
				case wire.TypeMemberList:
					c.write(wire.NewError(wire.CodeUnknownType, "not offered", f.ReqID))
				}
			}
		})
		defer stop()
		c := s.dialed(s.options())
		r, err := c.Send(t.Context(), toEverybody())
		if err != nil || len(r.Copies) != 2 || r.Copies[0].Reason != "" || r.Copies[1].Reason == "" {
			t.Fatalf("receipt %+v, %v", r, err)
		}
		<-sends
		if m := <-sends; m.Targets[0].Key != claude.Public() || len(sends) != 0 {
			t.Errorf("copy %+v", m)
		}
		c.Close()
	})
}

// TestCopiesWaitForTheBroker checks that Send asks again which copies of a repeated message are missing
// until the broker answers, however long the broker is away.
func TestCopiesWaitForTheBroker(t *testing.T) {
	const away = 2 * answerTimeout
	for name, misbehave := range map[string]func(c *serverConn, f *wire.Frame){
		"silent":      func(*serverConn, *wire.Frame) {},
		"try again":   func(c *serverConn, f *wire.Frame) { c.write(wire.NewError(wire.CodeTryAgain, "no storage", f.ReqID)) },
		"disconnects": func(c *serverConn, _ *wire.Frame) { _ = c.ws.Close(websocket.StatusGoingAway, "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				carol := newKey(t)
				back := time.Now().Add(away)
				copies := make(chan wire.Send, 10)
				s, stop := newScripted(t, func(c *serverConn) {
					c.hello()
					for f := range c.frames() {
						switch {
						case f.Type == wire.TypeSend:
							m, err := wire.DecodeSend(&f)
							if err != nil {
								t.Error(err)
							}
							toAll := m.Targets[0].Kind == wire.TargetAll
							if !toAll {
								copies <- m
							}
							c.ackWith(wire.Ack{ID: m.ID, MessageID: "first", Queued: true, Repeated: toAll})
						case time.Now().Before(back):
							misbehave(c, &f)
						case f.Type == wire.TypeMessageStatus:
							c.write(wire.MessageStatusResult{Type: wire.TypeMessageStatusResult, MessageID: "first", ReqID: f.ReqID, Recipients: []wire.RecipientStatus{
								{Name: "carol", Pubkey: carol.Public(), Status: wire.RecipientDisconnected, State: wire.StateUnopened},
							}})
						case f.Type == wire.TypeListPeers:
							c.write(wire.PeersList{Type: wire.TypePeersList, ReqID: f.ReqID, Peers: []wire.PeerRow{
								{Pubkey: carol.Public(), MemberPubkey: carol.Public(), DisplayName: "carol"},
							}})
						case f.Type == wire.TypeMemberList:
							c.write(wire.NewError(wire.CodeUnknownType, "not offered", f.ReqID))
						}
					}
				})
				defer stop()
				c := s.dialed(s.options())
				defer c.Close()
				r, err := c.Send(t.Context(), toEverybody())
				if err != nil || len(r.Copies) != 1 || len(copies) != 1 {
					t.Fatalf("receipt %+v, %d copies, %v", r, len(copies), err)
				}
				if m := <-copies; m.Targets[0].Key != carol.Public() {
					t.Errorf("copy %+v", m)
				}
			})
		})
	}
}

// TestNothingToManyOverAnOlderBroker checks that the client does not send a message to many
// recipients to a broker that does not say who can't open it.
func TestNothingToManyOverAnOlderBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, func(c *serverConn) {
			if _, ok := c.next(); !ok {
				return
			}
			c.write(wire.HelloAck{Type: wire.TypeHelloAck, MemberDisplayName: "me", MemberProfile: wire.MemberProfile{Groups: []wire.Group{}}})
			if m, ok := c.sendOf(); ok {
				t.Errorf("sent %+v", m)
			}
		})
		defer stop()
		c := s.dialed(s.options())
		if _, err := c.Send(t.Context(), toEverybody()); !errors.Is(err, ErrGroupsUnsorted) {
			t.Errorf("got %v", err)
		}
		c.Close()
	})
}

// TestCopyIsTheMessage checks that a copy has the id of its original, so that a recipient
// takes it once. It is not shown as if it were only for this recipient.
func TestCopyIsTheMessage(t *testing.T) {
	from, me := newKey(t), newKey(t)
	o := Options{Mesh: Mesh{Member: me}}
	c := &Client{o: o, pairs: []identity.KeyPair{me}}
	push := wire.Push{MessageID: "m", SenderPubkey: from.Public(), SenderMemberPubkey: from.Public(), ClientID: wire.CopyID("one", me.Public()),
		BodyVersion: wire.BodyCopy, Priority: wire.Next}
	var err error
	if push.Nonce, push.Ciphertext, err = envelope.SealDirect(from, me.Public(), []byte("secret")); err != nil {
		t.Fatal(err)
	}
	m := c.open(&push)
	if m.ClientID != "one" || m.Sealing != Copied || string(m.Body) != "secret" || !m.Verified || m.WantsReceipt {
		t.Errorf("got %+v", m)
	}
	original := Incoming{Member: from.Public(), ClientID: "one"}
	if m.DedupeKey() != original.DedupeKey() {
		t.Errorf("got dedupe key %s, want that of the original, %s", m.DedupeKey(), original.DedupeKey())
	}
	push.ClientID = "one" // not the id of a copy
	if m := c.open(&push); m.ClientID != "one" {
		t.Errorf("got %+v", m)
	}
}
