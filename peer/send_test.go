package peer

import (
	"context"
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// sendOf reads the next send.
func (c *serverConn) sendOf() (wire.Send, bool) {
	f, ok := c.nextOf(wire.TypeSend)
	if !ok {
		return wire.Send{}, false
	}
	m, err := wire.DecodeSend(&f)
	if err != nil {
		c.s.t.Errorf("send: %v", err)
	}
	return m, err == nil
}

// answering accepts a client and calls answer for each message that it sends.
func answering(answer func(c *serverConn, m wire.Send)) script {
	return func(c *serverConn) {
		c.hello()
		for m, ok := c.sendOf(); ok; m, ok = c.sendOf() {
			answer(c, m)
		}
	}
}

func TestSendSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sends := make(chan wire.Send, 10)
		s, stop := newScripted(t, answering(func(c *serverConn, m wire.Send) {
			sends <- m
			c.ack(m.ID, "m-"+m.ClientID, "")
		}))
		defer stop()
		o := s.options()
		bob := newKey(t)
		direct := []wire.Target{{Kind: wire.TargetKey, Key: bob.Public()}}
		groups := []wire.Target{{Kind: wire.TargetGroup, Name: "a"}, {Kind: wire.TargetGroup, Name: "b"}}

		c := s.dialed(o)
		r, err := c.Send(t.Context(), Outgoing{To: direct, Body: []byte("secret"), Priority: wire.Now, ReplyTo: "m0", Mentions: []string{"x"}})
		m := <-sends
		if err != nil || r.ClientID != m.ClientID || r.MessageID != "m-"+m.ClientID || !r.Queued {
			t.Errorf("receipt %+v, %v", r, err)
		}
		if body, err := envelope.OpenDirect(bob, o.Mesh.Member.Public(), m.Nonce, m.Ciphertext); err != nil || string(body) != "secret" {
			t.Errorf("got %q, %v", body, err)
		}
		if m.TargetSpec != bob.Public().String() || m.Priority != wire.Now || m.ReplyTo != "m0" || m.BodyVersion != 0 || len(m.Fingerprint) != 64 || m.Mentions[0] != "x" || len(m.ClientID) != 36 {
			t.Errorf("got %+v", m)
		}

		if _, err := c.Send(t.Context(), Outgoing{To: groups, Body: []byte("to groups"), ClientID: "mine"}); err != nil {
			t.Error(err)
		}
		m = <-sends
		text, err := envelope.OpenMesh(o.Mesh.Key, m.Nonce, m.Ciphertext)
		if err != nil || len(text) < wire.SignatureSize || string(text[wire.SignatureSize:]) != "to groups" {
			t.Fatalf("got %q, %v", text, err)
		}
		signed := wire.GroupTextSigningText(o.Mesh.MeshID, o.Mesh.Member.Public(), "mine", hexHash([]byte("to groups")))
		if !identity.Verify(o.Mesh.Member.Public(), signed, wire.Signature(text)) {
			t.Error("the text for the groups is not signed")
		}
		if m.TargetSpec != `["@a","@b"]` || m.BodyVersion != wire.BodySignedMesh || m.KeyEpoch != 1 || m.Priority != wire.Next || m.ClientID != "mine" {
			t.Errorf("got %+v", m)
		}
		c.Close()

		o.Session = newKey(t)
		o.TakesReceipts = true
		c = s.dialed(o)
		if _, err := c.Send(t.Context(), Outgoing{To: direct, Body: []byte("of a session")}); err != nil {
			t.Error(err)
		}
		m = <-sends
		if _, err := envelope.OpenDirect(bob, o.Session.Public(), m.Nonce, m.Ciphertext); err != nil || m.BodyVersion != wire.BodyText {
			t.Errorf("not sealed with the session key as version 4: %d, %v", m.BodyVersion, err)
		}
		c.Close()
	})
}

// TestFingerprintDoesNotTellThePlaintext checks that neither plain text nor anything that
// confirms a guess of it leaves the client.
func TestFingerprintDoesNotTellThePlaintext(t *testing.T) {
	t.Parallel()
	c, err := New(Options{Mesh: Mesh{Member: newKey(t), BrokerURL: "ws://x/ws", Key: envelope.NewMeshKey()}})
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := func() string {
		frame, err := c.seal(&Outgoing{To: everybody, Body: []byte("yes"), ClientID: "same"})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(frame.bytes), base64.StdEncoding.EncodeToString([]byte("yes"))) || strings.Contains(string(frame.bytes), `"yes"`) {
			t.Errorf("plain text in %s", frame.bytes)
		}
		f, err := wire.ParseFrame(frame.bytes)
		if err != nil {
			t.Fatal(err)
		}
		m, err := wire.DecodeSend(&f)
		if err != nil {
			t.Fatal(err)
		}
		return m.Fingerprint
	}
	if first, second := fingerprint(), fingerprint(); first == second {
		t.Error("the fingerprint depends on nothing but the plain text")
	}
}

func TestSendIsRepeatedUntilAcknowledged(t *testing.T) {
	for _, tc := range []struct {
		name  string
		first script // serves the first attempt
		after time.Duration
	}{
		{"connection dropped", func(c *serverConn) { c.hello(); c.sendOf() }, time.Second},
		{"ack lost", func(c *serverConn) {
			c.hello()
			c.sendOf()
			m, _ := c.sendOf() // 15 s later, on the same connection
			c.ack(m.ID, "m1", "")
			c.drain()
		}, ackTimeout},
		{"rate limit", func(c *serverConn) {
			c.hello()
			m, _ := c.sendOf()
			c.ack(m.ID, "", "rate_limit: max 600 msg/min (burst 100), slow down")
			m, _ = c.sendOf()
			c.ack(m.ID, "m1", "")
			c.drain()
		}, time.Second},
		{"storage away", func(c *serverConn) {
			c.hello()
			m, _ := c.sendOf()
			c.ack(m.ID, "", "try_again: storage is away")
		}, time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sends := make(chan wire.Send, 10)
				s, stop := newScripted(t, tc.first, func(c *serverConn) {
					c.hello()
					m, ok := c.sendOf()
					if ok {
						sends <- m
						c.ack(m.ID, "m1", "")
					}
					c.drain()
				})
				defer stop()
				c := s.dialed(s.options())
				start := time.Now()
				r, err := c.Send(t.Context(), Outgoing{To: everybody, Body: []byte("x"), ClientID: "one"})
				if err != nil || r.MessageID != "m1" || r.ClientID != "one" {
					t.Errorf("got %+v, %v", r, err)
				}
				if took := time.Since(start); took < tc.after*8/10 || took > tc.after*3 {
					t.Errorf("took %v", took)
				}
				select {
				case m := <-sends:
					if m.ClientID != "one" {
						t.Errorf("sent again as %s", m.ClientID)
					}
				default:
				}
				c.Close()
			})
		})
	}
}

// TestResendIsTheSameFrame checks that a resend has the same bytes: the nonce must not seal
// two texts, and the broker may compare fingerprints.
func TestResendIsTheSameFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []wire.Send
		s, stop := newScripted(t,
			func(c *serverConn) { c.hello(); m, _ := c.sendOf(); got = append(got, m) },
			func(c *serverConn) {
				c.hello()
				m, _ := c.sendOf()
				got = append(got, m)
				c.ack(m.ID, "m1", "")
				c.drain()
			})
		defer stop()
		c := s.dialed(s.options())
		if _, err := c.Send(t.Context(), Outgoing{To: everybody, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		c.Close()
		if len(got) != 2 || got[0].Ciphertext != got[1].Ciphertext || got[0].Fingerprint != got[1].Fingerprint || got[0].ClientID != got[1].ClientID {
			t.Errorf("got %+v", got)
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		reason, code string
		final        bool
	}{
		{"payload_too_large: 70000 bytes > 65536", "payload_too_large", true},
		{"target_not_found: no such key in this mesh", "target_not_found", true},
		{"forbidden: blocked by recipient grants (sender lacks dm capability)", "forbidden", true},
		{"invalid: priority must be now, next or low", "invalid", true},
		{"rate_limit: slow down", "rate_limit", false},
		{"queue_full: too many messages wait", "queue_full", false},
		{"try_again: storage is away", "try_again", false},
		{"no connected peer for target", "no", false},
		{"", "no", false},
	} {
		e := newRefusedError(tc.reason)
		if e.Code != tc.code || e.Final != tc.final || e.Reason == "" {
			t.Errorf("%q: got %+v", tc.reason, e)
		}
	}
}

func TestSendGivesUp(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, func(c *serverConn) {
				c.hello()
				m, _ := c.sendOf()
				c.ack(m.ID, "", "target_not_found: nobody")
				c.drain()
			})
			defer stop()
			c := s.dialed(s.options())
			start := time.Now()
			_, err := c.Send(t.Context(), Outgoing{To: everybody})
			var refused *RefusedError
			if !errors.As(err, &refused) || !refused.Final || time.Since(start) > 0 {
				t.Errorf("got %v after %v", err, time.Since(start))
			}
			c.Close()
		})
	})
	t.Run("refused until the context ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, answering(func(c *serverConn, m wire.Send) { c.ack(m.ID, "", "queue_full: wait") }))
			defer stop()
			c := s.dialed(s.options())
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := c.Send(ctx, Outgoing{To: everybody})
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Code != wire.AckQueueFull {
				t.Errorf("got %v", err)
			}
			c.Close()
		})
	})
	t.Run("never answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, stop := newScripted(t, idle)
			defer stop()
			c := s.dialed(s.options())
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := c.Send(ctx, Outgoing{To: everybody}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			c.Close()
		})
	})
}

func TestSendChecksItsInput(t *testing.T) {
	t.Parallel()
	c, err := New(Options{Mesh: Mesh{Member: newKey(t), BrokerURL: "ws://x/ws"}})
	if err != nil {
		t.Fatal(err)
	}
	key := wire.Target{Kind: wire.TargetKey, Key: newKey(t).Public()}
	for name, m := range map[string]Outgoing{
		"no target":     {},
		"two keys":      {To: []wire.Target{key, key}},
		"key and group": {To: []wire.Target{key, {Kind: wire.TargetAll}}},
		"bad priority":  {To: []wire.Target{key}, Priority: "urgent"},
		"zero key":      {To: []wire.Target{{Kind: wire.TargetKey}}},
		"no mesh key":   {To: everybody},
	} {
		if _, err := c.Send(t.Context(), m); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestSetHookStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan wire.SetStatus, 3)
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			for f := range c.framesOf(wire.TypeSetStatus) {
				m, err := wire.DecodeSetStatus(&f)
				if err != nil {
					t.Error(err)
				}
				got <- m
			}
		})
		defer stop()
		c := s.dialed(s.options())
		if err := errors.Join(c.SetStatus(t.Context(), wire.DND), c.SetHookStatus(t.Context(), HookStatus{Status: wire.Working, CannotRead: "hooks are off"}),
			c.SetHookStatus(t.Context(), HookStatus{Status: wire.Working, Reason: strings.Repeat("x", wire.MaxReasonLen-1) + "é"})); err != nil {
			t.Fatal(err)
		}
		why, none := "hooks are off", ""
		for i, want := range []wire.SetStatus{{Status: wire.DND}, {Status: wire.Working, Source: wire.SourceHook, CannotRead: &why},
			{Status: wire.Working, Source: wire.SourceHook, Reason: strings.Repeat("x", wire.MaxReasonLen-1), CannotRead: &none}} {
			if m := <-got; !reflect.DeepEqual(m, want) {
				t.Errorf("status %d: got %+v, want %+v", i, m, want)
			}
		}
		c.Close()
	})
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			for f := range c.frames() {
				switch f.Type {
				case wire.TypeListPeers:
					c.write(map[string]any{"type": "later", "_reqId": "other"}) // unknown: ignored
					c.write(wire.PeersList{Type: wire.TypePeersList, Peers: []wire.PeerRow{{DisplayName: "bob", Groups: []wire.Group{}}}, ReqID: f.ReqID})
				case wire.TypeAuditQuery:
					c.write(wire.NewError(wire.CodeForbidden, "admins only", f.ReqID))
				case wire.TypeSetVisible:
					c.ack(f.ReqID, "", "") // v1: in id
				case wire.TypeInviteRevoke:
					c.write(map[string]any{"type": "ack", "id": "", "messageId": "", "queued": false, "error": "not_found: invite", "_reqId": f.ReqID})
				case wire.TypeSetProfile:
					return // drops
				}
			}
		})
		defer stop()
		c := s.dialed(s.options())
		if peers, err := c.ListPeers(t.Context()); err != nil || len(peers) != 1 || peers[0].DisplayName != "bob" {
			t.Errorf("got %v, %v", peers, err)
		}
		var refused *RequestError
		if _, err := c.Audit(t.Context(), wire.AuditQuery{}); !errors.As(err, &refused) || refused.Code != wire.CodeForbidden {
			t.Errorf("got %v", err)
		}
		if err := c.SetVisible(t.Context(), true); err != nil {
			t.Error(err)
		}
		if err := c.InviteRevoke(t.Context(), wire.ID{1}); !errors.As(err, &refused) || refused.Code != wire.CodeNotFound {
			t.Errorf("got %v", err)
		}
		start := time.Now()
		if _, err := c.ListMembers(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != answerTimeout {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		if err := c.SetProfile(t.Context(), wire.Profile{}); !errors.Is(err, ErrDisconnected) {
			t.Errorf("got %v", err)
		}
		c.Close()
	})
}
