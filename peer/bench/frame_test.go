package bench

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/identitytest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

var pair = identitytest.Pair

// TestDraft checks that the broker reads what a draft contains, and each message has its
// own ids.
func TestDraft(t *testing.T) {
	t.Parallel()
	from, to := pair(t), pair(t)
	for _, size := range []int{1, 100, 1024, 5000} {
		d := newDraft(size, to.Public().String(), 0)
		for place := range 3 {
			id := messageID{0xabcdef01, 7, place}
			d.set(id, from.Public().String())
			frame, err := wire.ParseFrame(d.frame)
			if err != nil {
				t.Fatal(err)
			}
			m, err := wire.DecodeSend(&frame)
			if err != nil || len(m.Targets) != 1 || m.Targets[0].Key != from.Public() || m.ID != m.ClientID || m.Priority != wire.Next || m.BodyVersion != 0 {
				t.Fatalf("%d bytes: %+v, %v", size, m, err)
			}
			if got, ok := parseMessageID([]byte(m.ID), id.run); !ok || got != id {
				t.Errorf("id %s is %+v", m.ID, got)
			}
			nonce, sealed, err := envelope.SealDirect(from, to.Public(), d.body)
			if err != nil || len(nonce) != len(m.Nonce) || len(sealed) != len(m.Ciphertext) {
				t.Errorf("%d bytes: a sealed body has %d, this one %d", size, len(sealed), len(m.Ciphertext))
			}
			before := len(d.frame)
			d.seal(nonce, sealed)
			if frame, err = wire.ParseFrame(d.frame); err != nil || len(d.frame) != before {
				t.Fatal(err)
			}
			if m, err = wire.DecodeSend(&frame); err != nil || m.Nonce != nonce || m.Ciphertext != sealed {
				t.Errorf("sealed: %+v, %v", m, err)
			}
		}
	}
	d := newDraft(10, "@bench-00000001", wire.BodyMesh)
	frame, err := wire.ParseFrame(d.frame)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := wire.DecodeSend(&frame); err != nil || m.TargetSpec != "@bench-00000001" || m.BodyVersion != wire.BodyMesh || m.KeyEpoch != 1 {
		t.Errorf("to a group: %+v, %v", m, err)
	}
}

func TestParseMessageID(t *testing.T) {
	t.Parallel()
	good := messageID{1, 2, 3}.appendTo(nil)
	for _, bad := range []string{"", "x", string(good[1:]), string(good) + "0", strings.Replace(string(good), "2", "g", 1), strings.Repeat("f", 32)} {
		if id, ok := parseMessageID([]byte(bad), 1); ok {
			t.Errorf("%q is %+v", bad, id)
		}
	}
	if _, ok := parseMessageID(good, 2); ok {
		t.Error("a message of another run was taken for one of this run")
	}
}

func TestReadAck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ frame, id, refusal string }{
		{`{"type":"ack","id":"abc","messageId":"01","queued":true}`, "abc", ""},
		{`{"queued":true, "messageId":"01", "id":"abc", "type":"ack"}`, "abc", ""},
		{`{"type":"ack","id":"abc","messageId":"","queued":false,"error":"rate_limit: slow"}`, "abc", "rate_limit: slow"},
		{`{"type":"ack","id":"a\u0062c","messageId":"01","queued":true}`, "abc", ""},
	} {
		if a, err := readAck([]byte(tc.frame)); err != nil || string(a.id) != tc.id || a.refusal != tc.refusal {
			t.Errorf("%s: %+v, %v", tc.frame, a, err)
		}
	}
	if _, err := readAck([]byte(`{"type":"ack"`)); err == nil {
		t.Error("half an ack was accepted")
	}
}

// TestReadPush checks that reading a push without parsing finds the same as parsing it,
// whatever the names in it look like.
func TestReadPush(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "bob", `","client_message_id":"evil","messageId":"evil`, `\`, "\x01\"", "ünï"} {
		for _, client := range []string{"0123", `quo"te`, "tab\t"} {
			p := wire.Push{
				MessageID: "0197", SenderPubkey: wire.Key{1}, SenderName: name, ClientID: client, Priority: wire.Next,
				Nonce: "AAAA", Ciphertext: "BBBB", CreatedAt: time.UnixMilli(1), ReplyTo: name,
			}
			frame := p.AppendJSON(nil)
			for _, whole := range []bool{false, true} {
				d, err := readPush(frame, whole)
				if err != nil || string(d.clientID) != client || string(d.messageID) != "0197" || whole && d.push.Ciphertext != "BBBB" {
					t.Errorf("%s: %+v, %v", frame, d, err)
				}
			}
		}
	}
	if _, err := readPush([]byte(`{"type":"push",`), false); err == nil {
		t.Error("half a push was accepted")
	}
}

func FuzzReadPush(f *testing.F) {
	f.Add([]byte(`{"type":"push","messageId":"1","client_message_id":"2"}`))
	f.Add([]byte(`{"type":"push","senderName":"\",\"client_message_id\":\"x","messageId":"1"}`))
	f.Fuzz(func(t *testing.T, frame []byte) {
		quick, err := readPush(frame, false)
		thorough, thoroughErr := readPush(frame, true)
		if err != nil || thoroughErr != nil || strings.Contains(string(frame), "{\"") && bytes.Count(frame, []byte("{")) > 1 {
			return // nested objects may have the same names
		}
		if !bytes.Equal(quick.clientID, thorough.clientID) || !bytes.Equal(quick.messageID, thorough.messageID) {
			t.Errorf("%s: %s %s, thoroughly %s %s", frame, quick.clientID, quick.messageID, thorough.clientID, thorough.messageID)
		}
	})
}

func TestClientAck(t *testing.T) {
	t.Parallel()
	frame, err := wire.ParseFrame(appendClientAck(nil, []byte("abc"), []byte("def")))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := wire.DecodeClientAck(&frame); err != nil || a.ClientID != "abc" || a.BrokerID != "def" {
		t.Errorf("got %+v, %v", a, err)
	}
}

func TestHello(t *testing.T) {
	t.Parallel()
	member, key := pair(t), pair(t)
	m := peer.Mesh{MeshID: wire.ID{1}.String(), MemberID: wire.ID{2}.String(), Member: member}
	s := &session{mesh: &m, pair: key, key: key.Public(), name: "bench-1", groups: []wire.Group{{Name: "g"}}}
	now := time.Now()
	b, err := s.hello(now)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := wire.ParseFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	h := wire.DecodeSessionHello(&frame)
	sig, err := wire.ParseSignature(h.Signature)
	if err != nil || h.Malformed != nil || h.DisplayName != "bench-1" || len(h.Groups) != 1 || h.ParentMemberID != m.MemberID {
		t.Fatalf("got %+v, %v", h, err)
	}
	if err := identity.VerifySessionHello(h.MeshID, member.Public(), key.Public(), h.Timestamp, sig, now); err != nil {
		t.Error(err)
	}
	if h.Attestation.SessionPubkey != key.Public().String() || h.Attestation.ParentMemberPubkey != member.Public().String() {
		t.Errorf("attestation %+v", h.Attestation)
	}
}
