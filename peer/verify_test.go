package peer

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/identitytest"
	"github.com/claudemesh/claudemesh/wire"
)

// attested is the member's attestation of a session key, in its wire form.
var attested = identitytest.Attested

func TestVerifyRow(t *testing.T) {
	t.Parallel()
	bob, eve, session := newKey(t), newKey(t), newKey(t).Public()
	now := time.UnixMilli(1_795_460_363_351)
	good := attested(bob, session, now.Add(12*time.Hour))
	changed := func(change func(*wire.Attestation)) *wire.Attestation {
		a := *good
		change(&a)
		return &a
	}
	for _, tc := range []struct {
		name        string
		key         wire.Key
		attestation *wire.Attestation
		doubt       string
	}{
		{"member connection", bob.Public(), nil, ""},
		{"session", session, good, ""},
		{"session without an attestation", session, nil, doubtNoAttestation},
		{"another key than the attested one", eve.Public(), good, doubtBadAttestation},
		{"attested by another member", session, attested(eve, session, now.Add(time.Hour)), doubtOtherMember},
		{"signed by another member in the member's name", session, changed(func(a *wire.Attestation) {
			a.Signature = attested(eve, session, now.Add(12*time.Hour)).Signature
		}), doubtBadAttestation},
		{"expiry changed", session, changed(func(a *wire.Attestation) { a.ExpiresAt++ }), doubtBadAttestation},
		{"expired", session, attested(bob, session, now.Add(-identity.MaxSkew)), doubtExpired},
		{"expired within the skew", session, attested(bob, session, now.Add(-identity.MaxSkew+time.Millisecond)), ""},
		{"valid for too long", session, attested(bob, session, now.Add(identity.MaxAttestationTTL+identity.MaxSkew+time.Millisecond)), doubtBadAttestation},
		{"valid for too long, within the skew", session, attested(bob, session, now.Add(identity.MaxAttestationTTL+identity.MaxSkew)), ""},
		{"no key", session, changed(func(a *wire.Attestation) { a.SessionPubkey = "x" }), doubtBadAttestation},
		{"no member", session, changed(func(a *wire.Attestation) { a.ParentMemberPubkey = "" }), doubtBadAttestation},
		{"no signature", session, changed(func(a *wire.Attestation) { a.Signature = "00" }), doubtBadAttestation},
	} {
		row := wire.PeerRow{Pubkey: tc.key, MemberPubkey: bob.Public(), Attestation: tc.attestation}
		if verified, doubt := VerifyRow(&row, now); doubt != tc.doubt || verified != (doubt == "") {
			t.Errorf("%s: got %v, %q", tc.name, verified, doubt)
		}
	}
}

// authorTest is a session of a member that opens messages from Bob's session.
type authorTest struct {
	*Client
	own, bob, session identity.KeyPair
	now               time.Time
}

func newAuthorTest(t *testing.T) *authorTest {
	a := &authorTest{own: newKey(t), bob: newKey(t), session: newKey(t), now: time.UnixMilli(1_795_460_363_351)}
	c, err := New(Options{Mesh: Mesh{MeshID: "mesh", Member: a.own, BrokerURL: "ws://x/ws", Key: envelope.NewMeshKey()}, Session: newKey(t)})
	if err != nil {
		t.Fatal(err)
	}
	a.Client = c
	return a
}

// direct returns a push of a text that from has sealed for the client's session.
func (a *authorTest) direct(t *testing.T, from identity.KeyPair) *wire.Push {
	p := sealed(t, from, a.Pubkey(), "m1", "c1", "text")
	p.CreatedAt = a.now
	return p
}

func TestAuthorOfDirectMessages(t *testing.T) {
	t.Parallel()
	a := newAuthorTest(t)
	bob, session, eve := a.bob, a.session, newKey(t)
	for _, tc := range []struct {
		name   string
		from   identity.KeyPair
		member wire.Key // as the broker says
		word   *wire.Attestation
		want   wire.Key
		doubt  string
	}{
		{"member", bob, bob.Public(), nil, bob.Public(), ""},
		{"session", session, bob.Public(), attested(bob, session.Public(), a.now.Add(time.Hour)), bob.Public(), ""},
		{"session, no member named", session, wire.Key{}, attested(bob, session.Public(), a.now.Add(time.Hour)), bob.Public(), ""},
		{"own member, not named", a.own, wire.Key{}, nil, a.own.Public(), ""},
		{"member, not named", bob, wire.Key{}, nil, wire.Key{}, doubtNoAttestation},
		{"session without an attestation", session, bob.Public(), nil, bob.Public(), doubtNoAttestation},
		{"eve's session as Bob's", eve, bob.Public(), attested(eve, eve.Public(), a.now.Add(time.Hour)), bob.Public(), doubtOtherMember},
		{"eve with Bob's attestation of his session", eve, bob.Public(), attested(bob, session.Public(), a.now.Add(time.Hour)), bob.Public(), doubtBadAttestation},
		{"expired when it was sent", session, bob.Public(), attested(bob, session.Public(), a.now.Add(-time.Hour)), bob.Public(), doubtExpired},
	} {
		p := a.direct(t, tc.from)
		p.SenderMemberPubkey, p.SenderAttestation = tc.member, tc.word
		m := a.open(p)
		if m.Member != tc.want || m.Doubt != tc.doubt || m.Verified != (tc.doubt == "") {
			t.Errorf("%s: got member %s, %v, %q", tc.name, m.Member.Short(), m.Verified, m.Doubt)
		}
		if m.Sealing != Direct || string(m.Body) != "text" || m.To != a.Pubkey() || m.WantsReceipt {
			t.Errorf("%s: got %+v", tc.name, m)
		}
	}
	p := a.direct(t, bob)
	p.BodyVersion = wire.BodyText
	if m := a.open(p); !m.WantsReceipt || string(m.Body) != "text" {
		t.Errorf("version 4: got %+v", m)
	}
	p.SenderMemberPubkey, p.Ciphertext = bob.Public(), "AAAA"
	if m := a.open(p); m.Verified || m.Doubt != doubtUnopened || m.WantsReceipt {
		t.Errorf("unopened: got %+v", m)
	}
}

func TestAuthorOfGroupMessages(t *testing.T) {
	t.Parallel()
	a := newAuthorTest(t)
	word := attested(a.bob, a.session.Public(), a.now.Add(time.Hour))
	group := func(meshID string, signer identity.KeyPair, clientID, text string) *wire.Push {
		nonce, ciphertext, err := envelope.SealMesh(a.o.Mesh.Key, signedText(meshID, signer, clientID, []byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		return &wire.Push{
			MessageID: "m1", ClientID: "c1", SenderPubkey: a.session.Public(), SenderMemberPubkey: a.bob.Public(), SenderAttestation: word,
			BodyVersion: wire.BodySignedMesh, KeyEpoch: meshKeyEpoch, Nonce: nonce, Ciphertext: ciphertext, CreatedAt: a.now,
		}
	}
	unsigned := group("mesh", a.session, "c1", "text")
	unsigned.BodyVersion = wire.BodyMesh
	unattested := group("mesh", a.session, "c1", "text")
	unattested.SenderAttestation = nil
	for _, tc := range []struct {
		name  string
		push  *wire.Push
		doubt string
	}{
		{"signed", group("mesh", a.session, "c1", "text"), ""},
		{"empty", group("mesh", a.session, "c1", ""), ""},
		{"by another member", group("mesh", newKey(t), "c1", "text"), doubtSignature},
		{"of another message", group("mesh", a.session, "c2", "text"), doubtSignature},
		{"of another mesh", group("other", a.session, "c1", "text"), doubtSignature},
		{"version 2", unsigned, doubtUnsigned},
		{"not attested", unattested, doubtNoAttestation},
	} {
		m := a.open(tc.push)
		if m.Verified != (tc.doubt == "") || m.Doubt != tc.doubt || m.Sealing != InMesh || m.Member != a.bob.Public() {
			t.Errorf("%s: got %v, %q, %s, %v", tc.name, m.Verified, m.Doubt, m.Sealing, m.Err)
		}
		if tc.push != unsigned && string(m.Body) != "text" && tc.name != "empty" {
			t.Errorf("%s: got %q", tc.name, m.Body)
		}
	}
}

// TestFormerSessionsOpen checks that the successor of a session can open what was sealed
// for that session.
func TestFormerSessionsOpen(t *testing.T) {
	t.Parallel()
	a := newAuthorTest(t)
	older, old := newKey(t), newKey(t)
	o := a.o
	o.Formerly = []FormerSession{{old}, {o.Session}, {}, {older}}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string]identity.KeyPair{"now": o.Session, "before": old, "long before": older, "member": a.own} {
		if m := c.open(sealed(t, a.bob, pair.Public(), "m", "", name)); string(m.Body) != name || m.To != pair.Public() {
			t.Errorf("%s: got %+v", name, m)
		}
	}
	if len(c.o.Formerly) != 2 {
		t.Errorf("%d former sessions", len(c.o.Formerly))
	}
	o.Session = identity.KeyPair{}
	if _, err := New(o); err == nil {
		t.Error("New accepted former sessions without a session")
	}
}
