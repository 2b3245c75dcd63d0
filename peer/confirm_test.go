package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// pushOf returns the push that the broker makes from a send.
func pushOf(m *wire.Send, from, member wire.Key) *wire.Push {
	return &wire.Push{
		MessageID: "m-" + m.ClientID, ClientID: m.ClientID, SenderPubkey: from, SenderMemberPubkey: member, Priority: m.Priority,
		Nonce: m.Nonce, Ciphertext: m.Ciphertext, BodyVersion: m.BodyVersion, KeyEpoch: m.KeyEpoch, CreatedAt: time.Now(),
	}
}

// TestReceiptArrives checks that a receipt goes from one client to another, and never to
// OnMessage.
func TestReceiptArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receipts := make(chan wire.Send, 10)
		acknowledged := make(chan struct{}, 10)
		s, stop := newScripted(t,
			func(c *serverConn) { // the recipient's
				c.hello()
				for {
					m, ok := c.sendOf()
					if !ok {
						close(receipts)
						return
					}
					receipts <- m
					c.ack(m.ID, "m", "")
				}
			},
			func(c *serverConn) { // the sender's
				hello, _ := c.hello()
				for m := range receipts {
					if m.BodyVersion != wire.BodyReceipt || m.Priority != wire.Now || len(m.Targets) != 1 || m.Targets[0].Key.String() != wire.DecodeSessionHello(&hello).SessionPubkey {
						t.Errorf("the receipt goes out as %+v", m)
					}
					h := wire.DecodeSessionHello(&c.s.hellos[0])
					by, err := wire.ParseKey(h.SessionPubkey)
					if err != nil {
						t.Error(err)
					}
					member, err := wire.ParseKey(h.ParentMemberPubkey)
					if err != nil {
						t.Error(err)
					}
					p := pushOf(&m, by, member)
					p.SenderAttestation = &h.Attestation
					c.writePush(p)
					if _, ok := c.nextOf(wire.TypeClientAck); !ok {
						t.Error("the receipt was not acknowledged")
					}
					acknowledged <- struct{}{}
				}
				c.drain()
			})
		defer stop()
		o := s.options()
		bob, alice := o, o
		alice.Mesh.Member, alice.Session, bob.Session = newKey(t), newKey(t), newKey(t)
		got := make(chan Confirmation, 10)
		alice.OnMessage = func(_ context.Context, m Incoming) error { t.Errorf("OnMessage got a receipt: %q", m.Body); return nil }
		alice.OnConfirmation = func(_ context.Context, c Confirmation) error { got <- c; return nil }

		recipient := s.dialed(bob)
		at := time.UnixMilli(1_795_460_363_351).UTC()
		want := []Confirmed{{"c1", ConfirmedDelivered, at, ""}, {"c2", ConfirmedInContext, at, ""}, {"c3", ConfirmedRefused, at, "<not> wanted & \u2028 here"}}
		for i := range 2 * receiptLimit {
			want = append(want, Confirmed{fmt.Sprint("more", i), ConfirmedDelivered, at, ""})
		}
		if err := recipient.Confirm(t.Context(), alice.Session.Public(), want); err != nil {
			t.Fatal(err)
		}
		recipient.Close()
		sender := s.dialed(alice)
		var all []Confirmed
		for range 3 {
			c := <-got
			if c.By != bob.Session.Public() || c.Member != bob.Mesh.Member.Public() {
				t.Errorf("by %s of %s", c.By.Short(), c.Member.Short())
			}
			all = append(all, c.Messages...)
			<-acknowledged
		}
		if !slices.Equal(all, want) {
			t.Errorf("got %+v", all)
		}
		sender.Close()
	})
}

// receiptTest makes good and bad receipts from Bob for Alice.
type receiptTest struct {
	bob, alice, eve identity.KeyPair
	list            []Confirmed
}

func newReceiptTest(t testing.TB) *receiptTest {
	return &receiptTest{newKey(t), newKey(t), newKey(t), []Confirmed{{"c1", ConfirmedDelivered, time.UnixMilli(1_795_460_363_351).UTC(), ""}}}
}

func (r *receiptTest) make(t testing.TB, meshID string, by identity.KeyPair, sender wire.Key) []byte {
	t.Helper()
	body, err := makeReceipt(meshID, by, sender, r.list)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// signed makes a properly signed receipt for any messages.
func (r *receiptTest) signed(t testing.TB, version int, messages string) []byte {
	t.Helper()
	sig := r.bob.Sign(wire.ReceiptSigningText("mesh", r.bob.Public(), r.alice.Public(), hexHash([]byte(messages))))
	return fmt.Appendf(nil, `{"v":%d,"meshId":"mesh","messages":%s,"by":%q,"signature":%q}`, version, messages, r.bob.Public(), sig)
}

func TestReadReceipt(t *testing.T) {
	t.Parallel()
	r := newReceiptTest(t)
	good := r.make(t, "mesh", r.bob, r.alice.Public())
	other, err := makeReceipt("mesh", r.bob, r.alice.Public(), []Confirmed{{"c2", ConfirmedInContext, r.list[0].At, ""}})
	if err != nil {
		t.Fatal(err)
	}
	var mixed, foreign receipt
	if err := errors.Join(json.Unmarshal(good, &mixed), json.Unmarshal(other, &foreign)); err != nil {
		t.Fatal(err)
	}
	mixed.Messages = foreign.Messages
	swapped, err := json.Marshal(mixed)
	if err != nil {
		t.Fatal(err)
	}
	many := "[" + strings.TrimSuffix(strings.Repeat(`{"id":"c","state":"delivered","at":1},`, receiptLimit+1), ",") + "]"
	for _, tc := range []struct {
		name string
		body []byte
		want int // messages; -1: refused
	}{
		{"good", good, 1},
		{"of any layout", r.signed(t, 1, "[ {\"at\": 5,\n\"state\":\"in_context\", \"id\":\"x\", \"new\":1} ]"), 1},
		{"unknown state among others", r.signed(t, 1, `[{"id":"a","state":"later","at":1},{"id":"b","state":"refused","at":1}]`), 1},
		{"of nothing", r.signed(t, 1, `[]`), 0},
		{"signed by another", r.make(t, "mesh", r.eve, r.alice.Public()), -1},
		{"for another sender", r.make(t, "mesh", r.bob, r.eve.Public()), -1},
		{"of another mesh", r.make(t, "other", r.bob, r.alice.Public()), -1},
		{"signature of other messages", swapped, -1},
		{"a later version", r.signed(t, 2, `[]`), -1},
		{"too many", r.signed(t, 1, many), -1},
		{"no id", r.signed(t, 1, `[{"state":"refused","at":1}]`), -1},
		{"long id", r.signed(t, 1, `[{"id":"`+strings.Repeat("x", wire.MaxClientID+1)+`","state":"refused","at":1}]`), -1},
		{"long reason", r.signed(t, 1, `[{"id":"x","state":"refused","at":1,"reason":"`+strings.Repeat("x", MaxReasonLen+1)+`"}]`), -1},
		{"no time", r.signed(t, 1, `[{"id":"x","state":"refused"}]`), -1},
		{"no list", r.signed(t, 1, `{"id":"x"}`), -1},
		{"no JSON", []byte("delivered"), -1},
		{"empty", nil, -1},
		{"cut", good[:len(good)-1], -1},
	} {
		list, err := readReceipt(tc.body, "mesh", r.bob.Public(), r.alice.Public())
		if (err != nil) != (tc.want < 0) || len(list) != max(tc.want, 0) {
			t.Errorf("%s: got %+v, %v", tc.name, list, err)
		}
	}
}

func TestConfirmChecksItsInput(t *testing.T) {
	t.Parallel()
	r := newReceiptTest(t)
	at := r.list[0].At
	for name, c := range map[string]Confirmed{
		"no id": {State: ConfirmedDelivered, At: at}, "no time": {ClientID: "x", State: ConfirmedDelivered}, "no state": {ClientID: "x", At: at},
		"long id": {ClientID: strings.Repeat("x", wire.MaxClientID+1), State: ConfirmedDelivered, At: at},
	} {
		if _, err := makeReceipt("mesh", r.bob, r.alice.Public(), []Confirmed{c}); err == nil {
			t.Errorf("%s: the receipt was accepted", name)
		}
	}
	// A reason that can't be sent unchanged must not prevent the receipt.
	for _, reason := range []string{strings.Repeat("é", MaxReasonLen), strings.Repeat("\xff", MaxReasonLen)} {
		body, err := makeReceipt("mesh", r.bob, r.alice.Public(), []Confirmed{{"x", ConfirmedRefused, at, reason}})
		if err != nil {
			t.Fatal(err)
		}
		if list, err := readReceipt(body, "mesh", r.bob.Public(), r.alice.Public()); err != nil || len(list) != 1 || list[0].Reason == "" {
			t.Errorf("got %+v, %v", list, err)
		}
	}
}

// TestReceiptsThatAreDropped checks that the client acknowledges and drops an invalid
// receipt, with a warning. A receipt that the application can't take comes again.
func TestReceiptsThatAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiptTest(t)
		var o Options
		push := func(id string, body []byte, from identity.KeyPair) *wire.Push {
			nonce, ciphertext, err := envelope.SealDirect(from, o.Mesh.Member.Public(), body)
			if err != nil {
				t.Fatal(err)
			}
			return &wire.Push{MessageID: id, SenderPubkey: from.Public(), Priority: wire.Now, Nonce: nonce, Ciphertext: ciphertext, BodyVersion: wire.BodyReceipt, CreatedAt: time.Now()}
		}
		acks := make(chan string, 20)
		s, stop := newScripted(t, func(c *serverConn) {
			c.hello()
			me := o.Mesh.Member.Public()
			c.writePush(push("text", []byte("a text"), r.bob))
			c.writePush(push("stolen", r.make(t, o.Mesh.MeshID, r.bob, me), r.eve))
			sealedForAnother := push("unopened", nil, r.bob)
			sealedForAnother.Ciphertext = push("", []byte("x"), r.eve).Ciphertext
			c.writePush(sealedForAnother)
			c.writePush(push("good", r.make(t, o.Mesh.MeshID, r.bob, me), r.bob))
			for {
				f, ok := c.nextOf(wire.TypeClientAck)
				if !ok {
					return
				}
				a, err := wire.DecodeClientAck(&f)
				if err != nil {
					t.Error(err)
				}
				acks <- a.BrokerID
			}
		})
		defer stop()
		o = s.options()
		var logged strings.Builder
		o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		o.OnMessage = func(_ context.Context, m Incoming) error { t.Errorf("OnMessage got a receipt: %+v", m); return nil }
		calls := 0
		o.OnConfirmation = func(_ context.Context, c Confirmation) error {
			if calls++; calls == 1 {
				return errors.New("disk full")
			}
			if !c.Member.IsZero() {
				t.Error("a member is proven without an attestation")
			}
			return nil
		}
		c := s.dialed(o)
		for i, want := range []string{"text", "stolen", "unopened", "text", "stolen", "unopened", "good"} {
			if got := <-acks; got != want {
				t.Errorf("ack %d: got %s, want %s", i, got, want)
			}
		}
		c.Close()
		if n := strings.Count(logged.String(), "dropped a receipt"); calls != 2 || n != 6 {
			t.Errorf("%d calls, %d warnings", calls, n)
		}
	})
}

func FuzzReadReceipt(f *testing.F) {
	r := newReceiptTest(f)
	good := r.make(f, "mesh", r.bob, r.alice.Public())
	f.Add(good)
	f.Add(r.signed(f, 1, `[{"id":"a","state":"later","at":1},{"id":"b","state":"refused","at":1,"reason":"no"}]`))
	f.Add([]byte(`{"v":1,"meshId":"mesh","messages":null,"by":"","signature":""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		list, err := readReceipt(body, "mesh", r.bob.Public(), r.alice.Public())
		if err != nil && list != nil {
			t.Error("readReceipt returned messages together with an error")
		}
		for _, c := range list {
			if !c.State.valid() || c.ClientID == "" || c.At.IsZero() {
				t.Errorf("got %+v", c)
			}
		}
		// The keys are new in each run, so Bob has signed only the seeds. The test signs the
		// fuzzed messages itself, so that the parser sees arbitrary messages, too.
		if !json.Valid(body) {
			return
		}
		list, err = readReceipt(r.signed(t, 1, string(body)), "mesh", r.bob.Public(), r.alice.Public())
		for _, c := range list {
			if err != nil || !c.State.valid() || c.ClientID == "" || len(c.Reason) > MaxReasonLen || c.At.UnixMilli() <= 0 {
				t.Errorf("got %+v, %v", c, err)
			}
		}
	})
}
