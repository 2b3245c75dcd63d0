package tests

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestHTTP(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"health", health},
		{"join refusals", joinRefusals},
		{"join", joinTwice},
		{"claim", claims},
		{"v1 claim", claimByV1},
		{"hook", hooks},
		{"hook before its session", pendingHook},
		{"hook from another address", foreignHook},
		{"bodies", bodies},
		{"foreign sites", foreignSites},
		{"other paths", otherPaths},
	})
}

// soonOver is the lifetime of an invite that expires during a test. It is longer than a busy
// machine takes to create one.
const soonOver = 10 * time.Second

// health waits for the healthy answers, because a storage counts as down while a busy
// machine delays its answer.
func health(t *testing.T, s *server) {
	var seen string
	answers := func(path string, says func(a frame) bool) func() bool {
		return func() bool {
			status, text := s.do(t, "GET", path, "")
			seen = fmt.Sprintf("%s: %d %s", path, status, text)
			return status == 200 && says(parse(t, text))
		}
	}
	instead := func() string { return seen }
	await.Until(t, "the broker is healthy", answers("/health", func(h frame) bool {
		_, isNumber := h["uptime"].(float64)
		return h["status"] == "ok" && h["db"] == "up" && h.str("version") != "" && isNumber
	}), instead)
	await.Until(t, "the broker is ready", answers("/health/ready", func(r frame) bool { return r["status"] == "ready" }), instead)
}

func joinRefusals(t *testing.T, s *server) {
	m, stranger := newTeam(t, s), newTeam(t, s)
	key, hour := newKeys().hex, time.Now().Add(time.Hour)
	edited := func(edit func(p frame)) frame {
		inv := m.sealInvite(t, hour)
		edit(inv.payload)
		inv.token = encodeToken(t, inv.payload)
		return inv.joinBody(key, "x")
	}
	expired, used, revoked := m.newInvite(t, 1, time.Now().Add(soonOver)), m.newInvite(t, 1, hour), m.newInvite(t, 1, hour)
	if status, a := s.post(t, "/join", used.joinBody(newKeys().hex, "first")); status != 200 {
		t.Fatalf("join: %d %s", status, a)
	}
	if a := m.owner.daemon(t).request(frame{"type": "invite_revoke", "inviteId": revoked.id}); a.str("type") != "ack" {
		t.Fatalf("revoke: %s", a)
	}
	elsewhere := m.sealInvite(t, hour)
	stranger.register(t, elsewhere.token, 1, hour)
	tests := []struct {
		name string
		body frame
		want string // "" for any text
	}{
		{"changed", edited(func(p frame) { p["role"] = "admin" }), "invite_bad_signature"},
		{"no signature", edited(func(p frame) { delete(p, "signature") }), "invite_bad_signature"},
		{"unknown mesh", edited(func(p frame) { p["mesh_id"] = strings.Repeat("0", 31) + "1"; m.owner.signInvite(p) }), "mesh_not_found"},
		{"another owner", edited(func(p frame) { p["owner_pubkey"] = stranger.owner.keys.hex; stranger.owner.signInvite(p) }), "invite_owner_mismatch"},
		{"not registered", m.sealInvite(t, hour).joinBody(key, "x"), "invite_not_found"},
		{"registered elsewhere", elsewhere.joinBody(key, "x"), "invite_mesh_mismatch"},
		{"revoked", revoked.joinBody(key, "x"), "invite_revoked"},
		{"exhausted", used.joinBody(key, "x"), "invite_exhausted"},
		{"payload of another token", func() frame {
			b := m.invite.joinBody(key, "x")
			b["invite_payload"] = m.sealInvite(t, hour.Add(time.Hour)).joinBody(key, "x")["invite_payload"]
			return b
		}(), "invite_bad_signature"},
		{"key upper case", m.invite.joinBody(strings.ToUpper(key), "x"), ""},
		{"no key", m.invite.joinBody("", "x"), ""},
		{"no token", frame{"peer_pubkey": key, "display_name": "x"}, ""},
	}
	for _, test := range tests {
		status, a := s.post(t, "/join", test.body)
		if status != 400 || a["ok"] != false || a.str("error") == "" || test.want != "" && a.str("error") != test.want {
			t.Errorf("%s: %d %s, want %s", test.name, status, a, test.want)
		}
	}
	await.Until(t, "the invite has expired", func() bool {
		return time.Now().Unix() > expired.payload["expires_at"].(int64)
	})
	if status, a := s.post(t, "/join", expired.joinBody(key, "x")); status != 400 || a.str("error") != "invite_expired" {
		t.Errorf("expired: %d %s", status, a)
	}
}

func joinTwice(t *testing.T, s *server) {
	m := newTeam(t, s)
	inv, keys := m.newInvite(t, 2, time.Now().Add(time.Hour)), newKeys()
	ids := make(chan string, 8)
	for range cap(ids) { // all calls must return the same member
		go func() {
			_, a := s.post(t, "/join", inv.joinBody(keys.hex, "bob"))
			ids <- a.str("memberId")
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if id := <-ids; id != first || id == "" {
			t.Errorf("member %q, want %q", id, first)
		}
	}
	if _, a := s.post(t, "/join", inv.joinBody(keys.hex, "bob")); a["alreadyMember"] != true || a.str("memberId") != first {
		t.Errorf("again: %s", a)
	}
	if status, a := s.post(t, "/join", inv.joinBody(newKeys().hex, "carol")); status != 200 || a["alreadyMember"] != nil {
		t.Errorf("the second use is gone: %d %s", status, a)
	}
	if _, a := s.post(t, "/join", inv.joinBody(newKeys().hex, "dave")); a.str("error") != "invite_exhausted" {
		t.Errorf("the third of two: %s", a)
	}
}

// newLink registers a broker-blind invite and returns its code and claim key.
func (m *team) newLink(t *testing.T, role string, uses int, expires time.Time) (code, id string, claim keyPair) {
	t.Helper()
	code, claim = "code-"+uniqueID(), newKeys()
	a := m.owner.daemon(t).request(frame{"type": "invite_create", "role": role, "uses": uses, "expiresAt": expires.UnixMilli(),
		"code": code, "claimPubkey": claim.hex, "sealedRootKey": base64.RawURLEncoding.EncodeToString([]byte("sealed"))})
	if a.str("type") != "invite_created" {
		t.Fatalf("invite_create: %s", a)
	}
	return code, a.str("inviteId"), claim
}

func claimBody(code string, member, claim keyPair) frame {
	at := nowMs()
	return frame{"peer_pubkey": member.hex, "display_name": "guest-" + member.hex[:6], "timestamp": at,
		"signature": claim.sign(fmt.Sprintf("claudemesh-claim|%s|%s|%d", code, member.hex, at))}
}

func claims(t *testing.T, s *server) {
	m := newTeam(t, s)
	hour := time.Now().Add(time.Hour)
	code, _, claim := m.newLink(t, "member", 1, hour)
	path := func(code string) string { return "/invites/" + code + "/claim" }
	refused := func(name, code string, body frame, wantStatus int, want string) {
		t.Helper()
		if status, a := s.post(t, path(code), body); status != wantStatus || a.str("error") != want {
			t.Errorf("%s: %d %s, want %d %s", name, status, a, wantStatus, want)
		}
	}
	guest := newKeys()
	refused("signed by another key", code, claimBody(code, guest, newKeys()), 400, "bad_signature")
	refused("signed for another code", code, claimBody("code-other", guest, claim), 400, "bad_signature")
	refused("empty", code, frame{}, 400, "malformed")
	refused("unknown", "code-"+uniqueID(), claimBody("x", guest, claim), 404, "not_found")
	status, a := s.post(t, path(code), claimBody(code, guest, claim))
	if status != 200 || a.str("mesh_id") != m.id || a.str("owner_pubkey") != m.owner.keys.hex || a.str("sealed_root_key") == "" ||
		!strings.HasPrefix(a.str("canonical_v2"), "v=2|"+m.id+"|") || !strings.HasSuffix(a.str("canonical_v2"), "|member|"+m.owner.keys.hex) {
		t.Errorf("claim: %d %s", status, a)
	}
	(&member{team: m, id: a.str("member_id"), name: "guest", keys: guest}).daemon(t)
	if status, again := s.post(t, path(code), claimBody(code, guest, claim)); status != 200 || again.str("member_id") != a.str("member_id") {
		t.Errorf("claimed again by the same key: %d %s", status, again)
	}
	refused("used up", code, claimBody(code, newKeys(), claim), 410, "exhausted")

	code, id, claim := m.newLink(t, "member", 1, hour)
	m.owner.daemon(t).request(frame{"type": "invite_revoke", "inviteId": id})
	refused("revoked", code, claimBody(code, newKeys(), claim), 410, "revoked")
	code, _, claim = m.newLink(t, "member", 1, time.Now().Add(soonOver))
	await.Until(t, "the page says that the invite has expired", func() bool {
		status, _ := s.do(t, "GET", "/i/"+code, "")
		return status == 410
	})
	refused("expired", code, claimBody(code, newKeys(), claim), 410, "expired")
}

// claimByV1 checks that the broker refuses the claim of a v1 client, which couldn't open the
// sealed mesh key, and that the claim doesn't use up the invite.
func claimByV1(t *testing.T, s *server) {
	m := newTeam(t, s)
	code, _, claim := m.newLink(t, "member", 1, time.Now().Add(time.Hour))
	path := "/invites/" + code + "/claim"
	x := make([]byte, 32)
	rand.Read(x)
	status, a := s.post(t, path, frame{"recipient_x25519_pubkey": base64.RawURLEncoding.EncodeToString(x)})
	if status != 400 || !strings.Contains(a.str("error"), "ask the inviter for a v1 link") {
		t.Errorf("claim: %d %s", status, a)
	}
	if status, a := s.post(t, path, claimBody(code, newKeys(), claim)); status != 200 {
		t.Errorf("the only use is gone: %d %s", status, a)
	}
	status, a = s.post(t, path, frame{"recipient_x25519_pubkey": "short"})
	if status != 400 || a.str("error") != "malformed" {
		t.Errorf("a short key: %d %s", status, a)
	}
}

func hooks(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, one, two := m.join(t, "bob"), newKeys(), newKeys()
	dir := "/srv/" + uniqueID()
	first, second := bob.session(t, one, "cwd", dir, "pid", 11), bob.session(t, two, "cwd", dir, "pid", 22)
	watching := m.owner.daemon(t)
	tests := []struct {
		name string
		body frame
		want *v1Client
	}{
		{"session id first", frame{"cwd": dir, "pid": 22, "session_id": sessionID(one), "status": "working"}, first},
		{"then pid and cwd", frame{"cwd": dir, "pid": 11, "session_id": "unknown", "status": "idle"}, first},
		{"then the newest in the directory", frame{"cwd": dir, "pid": 33, "status": "working"}, second},
	}
	for _, test := range tests {
		status, a := s.post(t, "/hook/set-status", test.body)
		if status != 200 || a["ok"] != true || a.str("presence_id") != test.want.ack.str("presenceId") {
			t.Errorf("%s: %d %s", test.name, status, a)
		}
		id := sessionID(one)
		if test.want == second {
			id = sessionID(two)
		}
		if row := watching.row(id); row["status"] != test.body["status"] {
			t.Errorf("%s: %s", test.name, row)
		}
		answered := slices.Sorted(func(yield func(string) bool) {
			for name := range a {
				if !yield(name) {
					return
				}
			}
		})
		if !slices.Equal(answered, []string{"ok", "presence_id"}) {
			t.Errorf("%s: the answer has %v", test.name, answered)
		}
	}
	for _, body := range []frame{
		{"cwd": dir}, {"status": "idle"}, {"cwd": "", "status": "idle"}, {"cwd": dir, "status": "asleep"},
	} {
		if status, a := s.post(t, "/hook/set-status", body); status != 400 || a["ok"] != false || a.str("error") != "cwd and status required" {
			t.Errorf("%s: %d %s", body, status, a)
		}
	}
}

func pendingHook(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	watching := m.owner.daemon(t)
	status, a := s.post(t, "/hook/set-status", frame{"cwd": "/w", "pid": 77, "session_id": sessionID(key), "status": "working"})
	if status != 200 || a["ok"] != true || a["pending"] != true || a["presence_id"] != nil {
		t.Fatalf("hook: %d %s", status, a)
	}
	bob.session(t, key)
	if row := watching.row(sessionID(key)); row.str("status") != "working" {
		t.Errorf("the signal was not applied: %s", row)
	}
}

// foreignHook checks that a hook from another address than the session's has no effect and
// learns nothing. 127.0.0.2 is another address of this machine.
func foreignHook(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	session, watching := bob.session(t, key), m.owner.daemon(t)
	client := clientFrom("127.0.0.2")
	res, err := client.Post(s.URL("/hook/set-status"), "application/json",
		strings.NewReader(`{"cwd":"/home/bob/work","pid":4343,"session_id":"`+sessionID(key)+`","status":"dnd"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
	if row := watching.row(sessionID(key)); row.str("status") != "idle" {
		t.Errorf("a hook from elsewhere changed the status: %s", row)
	}
	session.sync()
}

func bodies(t *testing.T, s *server) {
	big := `{"cwd":"` + strings.Repeat("x", 65_536) + `"}`
	for _, path := range []string{"/hook/set-status", "/join", "/invites/code-0123456789abcdef/claim"} {
		status, text := s.do(t, "POST", path, big)
		if a := parse(t, text); status != 413 || a["ok"] != false || a["error"] != "payload too large" {
			t.Errorf("%s with a big body: %d %s", path, status, text)
		}
		if status, text = s.do(t, "POST", path, `{"cwd":`); status != 400 || parse(t, text).str("error") == "" {
			t.Errorf("%s with bad JSON: %d %s", path, status, text)
		}
	}
}

func foreignSites(t *testing.T, s *server) {
	_, res, err := websocket.Dial(t.Context(), s.WSURL(), &websocket.DialOptions{HTTPHeader: map[string][]string{"Origin": {"https://evil.example"}}})
	if err == nil || res == nil || res.StatusCode != 403 {
		t.Errorf("a foreign page opened a socket: %v", err)
	}
	for _, path := range []string{"/hook/set-status", "/join", "/meshes"} {
		if status, text := s.do(t, "POST", path, `{}`, "Origin", "https://evil.example"); status != 403 {
			t.Errorf("a foreign page posted to %s: %d %s", path, status, text)
		}
	}
	// A page under its own host name that resolves to this address gets nothing.
	status, text := s.do(t, "GET", "/health", "", "Host", "evil.example")
	if says := parse(t, text).str("message"); status != 421 || !strings.Contains(says, s.URL("")) || strings.Contains(text, "version") {
		t.Errorf("under a foreign name: %d %s", status, text)
	}
}

func otherPaths(t *testing.T, s *server) {
	m := newTeam(t, s)
	code, _, _ := m.newLink(t, "member", 1, time.Now().Add(time.Hour))
	status, page := s.do(t, "GET", "/i/"+code, "", "Accept", "text/html")
	if status != 200 || !strings.Contains(page, "<html") || !strings.Contains(page, "The Team") || !strings.Contains(page, "owner") {
		t.Errorf("invite page: %d %.400s", status, page)
	}
	if status, text := s.do(t, "GET", "/i/"+hex.EncodeToString(make([]byte, 12)), ""); status != 404 {
		t.Errorf("page of an unknown invite: %d %.200s", status, text)
	}
	if status, text := s.do(t, "GET", "/nothing/here", ""); status != 404 || parse(t, text)["ok"] != false || parse(t, text).str("error") == "" {
		t.Errorf("a path that nobody serves: %d %q", status, text)
	}
	if status, _ := s.do(t, "GET", "/ws", ""); status != 426 {
		t.Errorf("GET /ws without upgrade: %d", status)
	}
	if status, _ := s.do(t, "GET", "/join", ""); status != 405 {
		t.Errorf("GET /join: %d", status)
	}
}
