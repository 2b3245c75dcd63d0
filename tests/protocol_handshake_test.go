package tests

import (
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// refusal is the expected refusal of a hello.
type refusal struct {
	code, message string // a message that ends in "..." is a prefix
	closeCode     int    // 0 means 1008 with the code as reason
	reason        string
}

func (r refusal) check(t *testing.T, c *v1Client) {
	t.Helper()
	e := c.await("the refusal", func(frame) bool { return true })
	if e.str("type") != "error" || e.str("code") != r.code || !fitsText(e.str("message"), r.message) {
		t.Errorf("answered %s, want %s %q", e, r.code, r.message)
	}
	if r.closeCode == 0 {
		r.closeCode, r.reason = 1008, r.code
	}
	c.awaitClose(r.closeCode, r.reason)
}

func fitsText(got, want string) bool {
	if start, ok := strings.CutSuffix(want, "..."); ok {
		return strings.HasPrefix(got, start)
	}
	return got == want
}

const (
	badSessionKey = "sessionPubkey must be 64 lowercase hex chars"
	badParentKey  = "parentMemberPubkey must be 64 lowercase hex chars"
	noBinding     = "parentAttestation does not bind the claimed session+parent pubkeys"
	removedText   = `You've been removed from "The Team". Contact the mesh owner to rejoin.`
)

// fromNow is a time in milliseconds relative to the start of the test case, which may be
// long after the creation of the table.
type fromNow int64

func TestHelloRefusals(t *testing.T) {
	other := newKeys()
	tests := []struct {
		name   string
		before []any // fields to change before signing
		signer *keyPair
		after  []any // fields to change after signing
		want   refusal
	}{
		{"session key not hex", []any{"sessionPubkey", "nonsense"}, nil, nil, refusal{code: "bad_session_pubkey", message: badSessionKey}},
		{"session key upper case", []any{"sessionPubkey", strings.ToUpper(other.hex)}, nil, nil, refusal{code: "bad_session_pubkey", message: badSessionKey}},
		{"session key before skew", []any{"sessionPubkey", "00", "timestamp", 1}, nil, nil, refusal{code: "bad_session_pubkey", message: badSessionKey}},
		{"no timestamp", nil, nil, []any{"timestamp", nil}, refusal{code: "timestamp_skew", message: "hello rejected: timestamp_skew"}},
		{"timestamp a string", nil, nil, []any{"timestamp", "now"}, refusal{code: "timestamp_skew", message: "hello rejected: timestamp_skew"}},
		{"timestamp null and everything else wrong", nil, nil, []any{"timestamp", nil, "signature", nil, "pubkey", "x", "cwd", nil}, refusal{code: "timestamp_skew", message: "hello rejected: timestamp_skew"}},
		{"skew before signature", []any{"timestamp", int64(1)}, &other, nil, refusal{code: "timestamp_skew", message: "hello rejected: timestamp_skew"}},
		{"pubkey not hex", []any{"pubkey", "zz"}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed"}},
		{"signature not hex", nil, nil, []any{"signature", "zz"}, refusal{code: "malformed", message: "hello rejected: malformed"}},
		{"signature too short", nil, nil, []any{"signature", strings.Repeat("a", 126)}, refusal{code: "malformed", message: "hello rejected: malformed"}},
		{"no signature", nil, nil, []any{"signature", nil}, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"no sessionId", []any{"sessionId", nil}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"no cwd", []any{"cwd", nil}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"no pid", []any{"pid", nil}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"pid a string", []any{"pid", "4242"}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"pid a fraction", []any{"pid", 1.5}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"sessionId a number", []any{"sessionId", 7}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"groups a string", []any{"groups", "a"}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"groups of strings", []any{"groups", []string{"a"}}, nil, nil, refusal{code: "malformed", message: "hello rejected: malformed..."}},
		{"signed by another key", nil, &other, nil, refusal{code: "bad_signature", message: "hello rejected: bad_signature"}},
		{"signed for another mesh", nil, nil, []any{"meshId", strings.Repeat("0", 32)}, refusal{code: "bad_signature", message: "hello rejected: bad_signature"}},
		{"signed for another member", nil, nil, []any{"memberId", strings.Repeat("0", 32)}, refusal{code: "bad_signature", message: "hello rejected: bad_signature"}},
		{"signed for another time", nil, nil, []any{"timestamp", fromNow(5000)}, refusal{code: "bad_signature", message: "hello rejected: bad_signature"}},
		{"unknown mesh", []any{"meshId", strings.Repeat("0", 31) + "1"}, nil, nil, refusal{code: "unauthorized", message: "pubkey not found in mesh"}},
		{"a mesh id of v1", []any{"meshId", "0pWIKMbQbw4CzcJUezLqlRplRCphjmRk"}, nil, nil, refusal{code: "unauthorized", message: "pubkey not found in mesh"}},
		{"unknown key", []any{"pubkey", other.hex}, &other, nil, refusal{code: "unauthorized", message: "pubkey not found in mesh"}},
		{"another member's id", []any{"memberId", strings.Repeat("0", 31) + "1"}, nil, nil, refusal{code: "member_id_mismatch", message: "..."}},
		{"not a member and a wrong id", []any{"pubkey", other.hex, "memberId", "x"}, &other, nil, refusal{code: "unauthorized", message: "pubkey not found in mesh"}},
	}
	onBoth(t, nil, func(t *testing.T, s *server) {
		bob := newTeam(t, s).join(t, "bob")
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				signer := bob.keys
				if test.signer != nil {
					signer = *test.signer
				}
				f := signer.signHello(bob.hello(test.before...))
				for i := 0; i < len(test.after); i += 2 {
					value := test.after[i+1]
					if ms, ok := value.(fromNow); ok {
						value = nowMs() + int64(ms)
					}
					f.set(test.after[i], value)
				}
				c := s.dial(t)
				c.write(f)
				test.want.check(t, c)
			})
		}
	})
}

func TestSessionHelloRefusals(t *testing.T) {
	other := newKeys()
	attestation := func(p *member, k keyPair, fields ...any) frame {
		a := p.attest(k.hex, nowMs()+3600*1000)
		a.set(fields...)
		return a
	}
	day := int64(24 * time.Hour / time.Millisecond)
	tests := []struct {
		name string
		edit func(p *member, k keyPair) []any // before signing
		by   *keyPair
		sign string // the signature; "" for a valid one
		want refusal
	}{
		{"session key", func(*member, keyPair) []any { return []any{"sessionPubkey", "zz"} }, nil, "", refusal{code: "bad_session_pubkey", message: badSessionKey}},
		{"no session key", func(*member, keyPair) []any { return []any{"sessionPubkey", nil} }, nil, "", refusal{code: "bad_session_pubkey", message: badSessionKey}},
		{"parent key", func(*member, keyPair) []any { return []any{"parentMemberPubkey", "zz"} }, nil, "", refusal{code: "bad_parent_pubkey", message: badParentKey}},
		{"both keys", func(*member, keyPair) []any { return []any{"parentMemberPubkey", "zz", "sessionPubkey", "zz"} }, nil, "", refusal{code: "bad_session_pubkey", message: badSessionKey}},
		{"no attestation", func(*member, keyPair) []any { return []any{"parentAttestation", nil} }, nil, "", refusal{code: "attestation_mismatch", message: noBinding}},
		{"attests another session", func(p *member, _ keyPair) []any {
			return []any{"parentAttestation", attestation(p, other)}
		}, nil, "", refusal{code: "attestation_mismatch", message: noBinding}},
		{"attested by another parent", func(p *member, k keyPair) []any {
			return []any{"parentAttestation", attestation(p, k, "parentMemberPubkey", other.hex)}
		}, nil, "", refusal{code: "attestation_mismatch", message: noBinding}},
		{"mismatch before expiry", func(p *member, _ keyPair) []any {
			return []any{"parentAttestation", p.attest(other.hex, 1)}
		}, nil, "", refusal{code: "attestation_mismatch", message: noBinding}},
		{"expired", func(p *member, k keyPair) []any {
			return []any{"parentAttestation", p.attest(k.hex, nowMs()-1)}
		}, nil, "", refusal{code: "expired", message: "attestation rejected: expired"}},
		{"expires now", func(p *member, k keyPair) []any {
			return []any{"parentAttestation", p.attest(k.hex, nowMs())}
		}, nil, "", refusal{code: "expired", message: "attestation rejected: expired"}},
		{"too long", func(p *member, k keyPair) []any {
			return []any{"parentAttestation", p.attest(k.hex, nowMs()+day+10_000)}
		}, nil, "", refusal{code: "ttl_too_long", message: "attestation rejected: ttl_too_long"}},
		{"attestation's signature not hex", func(p *member, k keyPair) []any {
			return []any{"parentAttestation", attestation(p, k, "signature", "zz")}
		}, nil, "", refusal{code: "malformed", message: "attestation rejected: malformed"}},
		{"attestation changed", func(p *member, k keyPair) []any {
			return []any{"parentAttestation", attestation(p, k, "expiresAt", nowMs()+3601*1000)}
		}, nil, "", refusal{code: "bad_signature", message: "attestation rejected: bad_signature"}},
		{"attestation before skew", func(p *member, k keyPair) []any {
			return []any{"parentAttestation", p.attest(k.hex, nowMs()-1), "timestamp", 1}
		}, nil, "", refusal{code: "expired", message: "attestation rejected: expired"}},
		{"skew", func(*member, keyPair) []any { return []any{"timestamp", nowMs() - 60_001} }, nil, "", refusal{code: "timestamp_skew", message: "session_hello rejected: timestamp_skew"}},
		{"skew before signature", func(*member, keyPair) []any { return []any{"timestamp", 1} }, nil, "zz", refusal{code: "timestamp_skew", message: "session_hello rejected: timestamp_skew"}},
		{"signature not hex", nil, nil, "zz", refusal{code: "malformed", message: "session_hello rejected: malformed"}},
		{"no cwd", func(*member, keyPair) []any { return []any{"cwd", nil} }, nil, "", refusal{code: "malformed", message: "session_hello rejected: malformed..."}},
		{"signed by the member", nil, new(keyPair), "", refusal{code: "bad_signature", message: "session_hello rejected: bad_signature"}},
		{"signed by a stranger", nil, &other, "", refusal{code: "bad_signature", message: "session_hello rejected: bad_signature"}},
		{"unknown mesh", func(*member, keyPair) []any { return []any{"meshId", strings.Repeat("0", 31) + "1"} }, nil, "", refusal{code: "unauthorized", message: "parent pubkey not found in mesh"}},
		{"another parent's id", func(p *member, _ keyPair) []any { return []any{"parentMemberId", p.team.owner.id} }, nil, "", refusal{code: "parent_member_id_mismatch", message: "..."}},
	}
	onBoth(t, nil, func(t *testing.T, s *server) {
		bob := newTeam(t, s).join(t, "bob")
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				session := newKeys()
				var edits []any
				if test.edit != nil {
					edits = test.edit(bob, session)
				}
				signer := session
				if test.by != nil {
					if signer = *test.by; signer.hex == "" {
						signer = bob.keys
					}
				}
				f := signer.signSessionHello(bob.sessionHello(session, edits...))
				if test.sign != "" {
					f["signature"] = test.sign
				}
				c := s.dial(t)
				c.write(f)
				test.want.check(t, c)
			})
		}
	})
}

func TestHandshake(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"hello_ack", helloAck},
		{"skew", helloSkew},
		{"replay", helloReplay},
		{"order on the socket", helloOrder},
		{"removed member", removedMember},
		{"another mesh", helloElsewhere},
		{"binary frame and query", helloBinary},
	})
}

func helloAck(t *testing.T, s *server) {
	bob := newTeam(t, s).join(t, "bob")
	daemon := bob.daemon(t, "displayName", "Bob's daemon")
	session := bob.session(t, newKeys(), "parentMemberId", nil)
	for c, name := range map[*v1Client]string{daemon: "Bob's daemon", session: "bob"} { // the session sends no name
		profile := c.ack["memberProfile"].(map[string]any)
		if tag, ok := profile["roleTag"]; !ok || tag != nil || !isKind(profile["groups"], "list") || profile["messageMode"] != "push" {
			t.Errorf("memberProfile in %s", c.ack)
		}
		policy, _ := c.ack["meshPolicy"].(map[string]any)["selfEditable"].(map[string]any)
		for _, name := range []string{"displayName", "roleTag", "groups", "messageMode"} {
			if !isKind(policy[name], "bool") {
				t.Errorf("meshPolicy.selfEditable.%s in %s", name, c.ack)
			}
		}
		if c.ack.str("memberDisplayName") != name || c.ack["restored"] != nil {
			t.Errorf("hello_ack: %s", c.ack)
		}
	}
	if services, ok := daemon.ack["services"].([]any); !ok || len(services) != 0 {
		t.Errorf("services after hello: %v", daemon.ack["services"])
	}
	if _, there := session.ack["services"]; there {
		t.Errorf("services after session_hello: %s", session.ack)
	}
}

func helloSkew(t *testing.T, s *server) {
	bob := newTeam(t, s).join(t, "bob")
	// A timestamp that is exactly 60,000 ms ahead is less far ahead on arrival.
	bob.daemon(t, "timestamp", nowMs()+60_000)
	bob.daemon(t, "timestamp", nowMs()-58_000)
	bob.session(t, newKeys(), "timestamp", nowMs()+60_000)
	for _, skew := range []int64{-60_001, 62_000, -3_600_000, 1 << 50} {
		c := s.dial(t)
		c.write(bob.keys.signHello(bob.hello("timestamp", nowMs()+skew)))
		refusal{code: "timestamp_skew", message: "hello rejected: timestamp_skew"}.check(t, c)
	}
	longest := newKeys()
	bob.session(t, longest, "parentAttestation", bob.attest(longest.hex, nowMs()+24*3600*1000))
}

func helloReplay(t *testing.T, s *server) {
	bob, session := newTeam(t, s).join(t, "bob"), newKeys()
	hellos := []frame{
		bob.keys.signHello(bob.hello()),
		session.signSessionHello(bob.sessionHello(session)),
	}
	for _, f := range hellos {
		first := s.greet(t, f)
		again := s.dial(t)
		again.write(f)
		refusal{code: "replayed", message: "..."}.check(t, again)
		first.sync() // undisturbed
	}
}

func helloOrder(t *testing.T, s *server) {
	bob := newTeam(t, s).join(t, "bob")
	c := s.dial(t)
	for _, f := range []frame{{"type": "list_peers"}, draft("*", "early"), {"type": "nonsense"}, {}} {
		f["_reqId"] = "r-1"
		c.write(f)
		e := c.await("no_hello", ofType("error"))
		if e.str("code") != "no_hello" || e.str("message") != "must send hello first" || e.str("_reqId") != "r-1" {
			t.Errorf("before hello: %s", e)
		}
	}
	c.write(bob.keys.signHello(bob.hello()))
	c.await("hello_ack", ofType("hello_ack"))
	for _, f := range []frame{bob.keys.signHello(bob.hello()), {"type": "session_hello"}} {
		if e := c.request(f); e.str("code") != "already_helloed" {
			t.Errorf("second hello: %s", e)
		}
	}
	c.sync()
}

func removedMember(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, carol, session := m.join(t, "bob"), m.join(t, "carol"), newKeys()
	live, watching := bob.session(t, session), carol.daemon(t)
	owner := m.owner.daemon(t)
	if a := owner.request(frame{"type": "member_remove", "pubkey": bob.keys.hex}); a.str("type") != "ack" {
		t.Fatalf("member_remove: %s", a)
	}
	live.awaitClose(4002, "banned")
	left := watching.await("peer_left", isEvent("peer_left"))
	if data := frame(left["eventData"].(map[string]any)); data.str("pubkey") != session.hex || data.str("name") != "bob" {
		t.Errorf("peer_left: %s", left)
	}
	gone := refusal{"revoked", removedText, 4002, "banned"}
	c := s.dial(t)
	c.write(bob.keys.signHello(bob.hello("memberId", carol.id))) // removal comes first
	gone.check(t, c)
	c = s.dial(t)
	c.write(session.signSessionHello(bob.sessionHello(session)))
	gone.check(t, c)

	status, answer := s.post(t, "/join", m.invite.joinBody(bob.keys.hex, "bob"))
	if status != 400 || answer["ok"] != false {
		t.Errorf("a removed key joined again: %d %s", status, answer)
	}
	if e := watching.refused(draft(bob.keys.hex, "to nobody")); !strings.HasPrefix(e, "target_not_found") {
		t.Errorf("send to a removed member: %s", e)
	}
}

// helloElsewhere checks that a member of one mesh is a stranger in another.
func helloElsewhere(t *testing.T, s *server) {
	one, two := newTeam(t, s), newTeam(t, s)
	bob := one.join(t, "bob")
	c := s.dial(t)
	c.write(bob.keys.signHello(bob.hello("meshId", two.id)))
	refusal{code: "unauthorized", message: "pubkey not found in mesh"}.check(t, c)

	watching := two.owner.daemon(t)
	daemon := bob.daemon(t)
	if e := daemon.refused(draft(two.owner.keys.hex, "across")); !strings.HasPrefix(e, "target_not_found") {
		t.Errorf("send to a member of another mesh: %s", e)
	}
	daemon.send("*", "to all of mine")
	watching.none("something from another mesh", func(frame) bool { return true })
	if n := len(watching.peers()); n != 1 {
		t.Errorf("the roster of the other mesh has %d rows", n)
	}
}

func helloBinary(t *testing.T, s *server) {
	bob := newTeam(t, s).join(t, "bob")
	c := s.dial(t)
	c.writeRaw(websocket.MessageBinary, toJSON(t, bob.keys.signHello(bob.hello())))
	c.await("hello_ack", ofType("hello_ack"))
	c.writeRaw(websocket.MessageBinary, `{"type":"list_peers","_reqId":"b"}`)
	c.await("peers_list", ofType("peers_list"))

	ws, _, err := websocket.Dial(t.Context(), s.WSURL()+"?session=1", nil)
	if err != nil {
		t.Fatalf("dial with a query: %v", err)
	}
	ws.CloseNow()
}
