package tests

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// keyPair is an ed25519 key pair in the encodings of protocol v1.
type keyPair struct {
	hex    string // public
	secret ed25519.PrivateKey
}

func newKeys() keyPair {
	public, secret, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return keyPair{hex.EncodeToString(public), secret}
}

func (k keyPair) sign(text string) string {
	return hex.EncodeToString(ed25519.Sign(k.secret, []byte(text)))
}

func uniqueID() string { return rand.Text()[:16] }

func nowMs() int64 { return time.Now().UnixMilli() }

var lastHello atomic.Int64

// helloTime returns the current time, but never the same time twice: two hellos of one
// member with one timestamp have the same signature, so the second looks like a replay.
func helloTime() int64 {
	for {
		last := lastHello.Load()
		if t := max(nowMs(), last+1); lastHello.CompareAndSwap(last, t) {
			return t
		}
	}
}

// team is a mesh with its owner.
type team struct {
	srv     *server
	id      string
	slug    string
	rootKey string // base64url, as in tokens
	owner   *member
	invite  v1Invite // has enough uses for every test
}

// member is a member of a mesh.
type member struct {
	team *team
	id   string
	name string
	keys keyPair
	host string
}

// newTeam creates a mesh and a v1 invite for it.
func newTeam(t testing.TB, s *server) *team {
	t.Helper()
	m := newMesh(t, s)
	m.invite = m.newInvite(t, 1000, time.Now().Add(time.Hour))
	return m
}

// newMesh creates a mesh, to which nobody connects yet.
func newMesh(t testing.TB, s *server) *team {
	t.Helper()
	root := make([]byte, 32)
	rand.Read(root)
	m := &team{srv: s, slug: "team", rootKey: base64.RawURLEncoding.EncodeToString(root)}
	m.owner = &member{team: m, name: "owner", keys: newKeys(), host: "owner-host"}
	at, name := nowMs(), "The Team"
	status, answer := s.post(t, "/meshes", frame{
		"slug": m.slug, "name": name, "display_name": m.owner.name, "owner_pubkey": m.owner.keys.hex, "timestamp": at,
		"signature": m.owner.keys.sign(fmt.Sprintf("claudemesh-create-mesh|%s|%d|%s|%d|%s|%s",
			m.owner.keys.hex, at, m.slug, len(name), name, m.owner.name)),
	})
	if status != 200 {
		t.Fatalf("create a mesh: %d %s", status, answer)
	}
	m.id, m.owner.id = answer.str("mesh_id"), answer.str("member_id")
	return m
}

// v1Invite is a v1 token and its payload.
type v1Invite struct {
	id, token string
	payload   frame
}

// newInvite creates a v1 token and registers it.
func (m *team) newInvite(t testing.TB, uses int, expires time.Time) v1Invite {
	t.Helper()
	inv := m.sealInvite(t, expires)
	inv.id = m.register(t, inv.token, uses, expires)
	return inv
}

// sealInvite creates a token without registering it.
func (m *team) sealInvite(t testing.TB, expires time.Time) v1Invite {
	t.Helper()
	p := frame{
		"v": 1, "mesh_id": m.id, "mesh_slug": m.slug, "broker_url": m.srv.WSURL(), "expires_at": expires.Unix(),
		"mesh_root_key": m.rootKey, "role": "member", "owner_pubkey": m.owner.keys.hex,
		// An unknown field makes two tokens of the same second differ.
		"salt": uniqueID(),
	}
	m.owner.signInvite(p)
	return v1Invite{token: encodeToken(t, p), payload: p}
}

func (o *member) signInvite(p frame) {
	p["signature"] = o.keys.sign(fmt.Sprintf("1|%s|%s|%s|%d|%s|%s|%s", p["mesh_id"], p["mesh_slug"], p["broker_url"],
		p["expires_at"], p["mesh_root_key"], p["role"], p["owner_pubkey"]))
}

func encodeToken(t testing.TB, p frame) string {
	return base64.RawURLEncoding.EncodeToString([]byte(toJSON(t, p)))
}

// register registers a token by its hash and returns the invite's id.
func (m *team) register(t testing.TB, token string, uses int, expires time.Time) string {
	t.Helper()
	sum := sha256.Sum256([]byte(token))
	c := m.owner.daemon(t)
	answer := c.request(frame{"type": "invite_create", "role": "member", "uses": uses,
		"expiresAt": expires.UnixMilli(), "tokenProof": hex.EncodeToString(sum[:])})
	if answer.str("type") != "invite_created" {
		t.Fatalf("register an invite: %s", answer)
	}
	c.leave()
	return answer.str("inviteId")
}

// joinBody returns the body of POST /join for an invite.
func (i v1Invite) joinBody(key, name string) frame {
	payload := frame{}
	for name, v := range i.payload {
		if name != "salt" {
			payload[name] = v
		}
	}
	return frame{"invite_token": i.token, "invite_payload": payload, "peer_pubkey": key, "display_name": name}
}

// join adds a new member, like a v1 client with a link.
func (m *team) join(t testing.TB, name string) *member {
	t.Helper()
	p := &member{team: m, name: name, keys: newKeys(), host: name + "-host"}
	status, answer := m.srv.post(t, "/join", m.invite.joinBody(p.keys.hex, name))
	if status != 200 || answer["ok"] != true || !idPattern.MatchString(answer.str("memberId")) {
		t.Fatalf("join: %d %s", status, answer)
	}
	p.id = answer.str("memberId")
	return p
}

// hello returns an unsigned hello of the member's daemon, with the given fields changed.
func (p *member) hello(fields ...any) frame {
	f := frame{
		"type": "hello", "meshId": p.team.id, "memberId": p.id, "pubkey": p.keys.hex, "displayName": p.name,
		"sessionId": "daemon-" + p.name, "pid": 4242, "cwd": "/home/" + p.name, "hostname": p.host, "peerType": "ai",
		"channel": "claudemesh-daemon", "timestamp": helloTime(),
	}
	f.set(fields...)
	return f
}

// set changes fields; nil removes one.
func (f frame) set(fields ...any) {
	for i := 0; i+1 < len(fields); i += 2 {
		if name := fields[i].(string); fields[i+1] == nil {
			delete(f, name)
		} else {
			f[name] = fields[i+1]
		}
	}
}

// signHello signs a hello.
func (k keyPair) signHello(f frame) frame {
	f["signature"] = k.sign(fmt.Sprintf("%v|%v|%v|%v", f["meshId"], f["memberId"], f["pubkey"], f["timestamp"]))
	return f
}

// sessionHello returns an unsigned session_hello with a valid attestation. The session id is
// derived from the key, so that it is the same after a reconnect.
func (p *member) sessionHello(session keyPair, fields ...any) frame {
	f := frame{
		"type": "session_hello", "meshId": p.team.id, "parentMemberId": p.id, "parentMemberPubkey": p.keys.hex,
		"sessionPubkey": session.hex, "parentAttestation": p.attest(session.hex, nowMs()+12*3600*1000),
		"displayName": p.name, "sessionId": sessionID(session), "pid": 4343, "cwd": "/home/" + p.name + "/work",
		"hostname": p.host, "peerType": "ai", "channel": "claudemesh-session", "timestamp": helloTime(),
	}
	f.set(fields...)
	return f
}

func sessionID(session keyPair) string { return "session-" + session.hex[:12] }

// attest returns the member's attestation of a session key.
func (p *member) attest(session string, expiresAt int64) frame {
	return frame{
		"sessionPubkey": session, "parentMemberPubkey": p.keys.hex, "expiresAt": expiresAt,
		"signature": p.keys.sign(fmt.Sprintf("claudemesh-session-attest|%s|%s|%d", p.keys.hex, session, expiresAt)),
	}
}

// signSessionHello signs a session_hello.
func (k keyPair) signSessionHello(f frame) frame {
	f["signature"] = k.sign(fmt.Sprintf("claudemesh-session-hello|%v|%v|%v|%v", f["meshId"], f["parentMemberPubkey"], f["sessionPubkey"], f["timestamp"]))
	return f
}

// daemon connects the member's daemon.
func (p *member) daemon(t testing.TB, fields ...any) *v1Client {
	t.Helper()
	return p.team.srv.greet(t, p.keys.signHello(p.hello(fields...)))
}

// session connects a session of the member.
func (p *member) session(t testing.TB, session keyPair, fields ...any) *v1Client {
	t.Helper()
	return p.team.srv.greet(t, session.signSessionHello(p.sessionHello(session, fields...)))
}

// oneShot connects like a one-shot command that runs in a session.
func (p *member) oneShot(t testing.TB, sessionID string, fields ...any) *v1Client {
	t.Helper()
	key := newKeys()
	fields = append([]any{"sessionPubkey", key.hex, "sessionId", sessionID, "channel", "claude-code"}, fields...)
	return p.team.srv.greet(t, p.keys.signHello(p.hello(fields...)))
}

// greet sends a hello, which the broker must accept.
func (s *server) greet(t testing.TB, hello frame) *v1Client {
	t.Helper()
	c := s.dial(t)
	c.write(hello)
	c.ack = c.await("hello_ack", func(f frame) bool {
		return f.str("type") == "hello_ack" || f.str("type") == "error"
	})
	if c.ack.str("type") != "hello_ack" {
		t.Fatalf("hello refused: %s", c.ack)
	}
	return c
}
