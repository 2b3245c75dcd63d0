package tests

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func parse(t testing.TB, text string) frame {
	t.Helper()
	f := frame{}
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatalf("%q is not a JSON object", text)
	}
	return f
}

// clientFrom returns an HTTP client with the given source address.
func clientFrom(ip string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, addr)
	}}}
}

func TestLimits(t *testing.T) {
	env := []string{"MAX_CONNECTIONS_PER_MESH=3", "SEND_RATE_PER_MIN=1", "SEND_BURST=5", "HOOK_RATE_LIMIT_PER_MIN=4", "MAX_MESSAGE_BYTES=2048", "HELLO_TIMEOUT_SECONDS=1"}
	env = append(env, "MAX_MEMBERS_PER_MESH=5", "MAX_QUEUE_BYTES_PER_MESH=1048576")
	scenariosOnBoth(t, env, []scenario{
		{"connections", capacity},
		{"members", members},
		{"sends", sendRate},
		{"hooks", hookRate},
		{"bytes", messageBytes},
		{"silence", helloTimeout},
	})
}

func capacity(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob, key := m.join(t, "bob"), newKeys()
	m.owner.daemon(t)
	first := bob.session(t, key)
	first.drop() // leased presences count
	bob.session(t, newKeys())
	full := refusal{code: "capacity", message: "mesh at connection capacity"}
	// The broker checks capacity before skew and signatures.
	for _, f := range []frame{
		bob.keys.signHello(bob.hello("timestamp", 1)),
		newKeys().signSessionHello(bob.sessionHello(newKeys(), "timestamp", 1)),
	} {
		c := s.dial(t)
		c.write(f)
		full.check(t, c)
	}
	bad := s.dial(t)
	bad.write(bob.hello("sessionPubkey", "zz"))
	refusal{code: "bad_session_pubkey", message: badSessionKey}.check(t, bad)
	bob.session(t, key).sync() // a leased presence gets its place back
	newTeam(t, s).owner.daemon(t).sync()
}

func sendRate(t *testing.T, s *server) {
	m := newTeam(t, s)
	bob := m.join(t, "bob")
	one, two := bob.session(t, newKeys()), bob.session(t, newKeys())
	for i := range 5 { // the limit is per member, not per connection
		[]*v1Client{one, two}[i%2].send(m.owner.keys.hex, "x")
	}
	for _, c := range []*v1Client{one, two} {
		if e := c.refused(draft(m.owner.keys.hex, "x")); !strings.HasPrefix(e, "rate_limit: ") || permanent.MatchString(e) {
			t.Errorf("beyond the rate: %q, which v1 clients must retry", e)
		}
	}
	m.owner.daemon(t).texts(5)
}

func members(t *testing.T, s *server) {
	m := newTeam(t, s)
	claim := func(code string, claim, guest keyPair) (int, frame) {
		return s.post(t, "/invites/"+code+"/claim", claimBody(code, guest, claim))
	}
	code, _, key := m.newLink(t, "member", 10, time.Now().Add(time.Hour))
	first := newKeys()
	for i := range 4 { // the owner is the fifth
		guest := newKeys()
		if i == 0 {
			guest = first
		}
		if status, a := claim(code, key, guest); status != 200 {
			t.Fatalf("member %d: %d %s", i, status, a)
		}
	}
	if status, a := claim(code, key, newKeys()); status != 409 || a.str("error") != "capacity" {
		t.Errorf("one too many: %d %s", status, a)
	}
	if status, a := claim(code, key, first); status != 200 {
		t.Errorf("claimed again: %d %s", status, a)
	}
}

func hookRate(t *testing.T, s *server) {
	post := func(cwd string, pid int) (int, frame) {
		return s.post(t, "/hook/set-status", frame{"cwd": cwd, "pid": pid, "status": "idle"})
	}
	dir := "/" + uniqueID()
	for range 4 {
		if status, a := post(dir, 1); status != 200 {
			t.Errorf("within the rate: %d %s", status, a)
		}
	}
	if status, a := post(dir, 1); status != 429 || a["ok"] != false || a["error"] != "rate limited" {
		t.Errorf("beyond the rate: %d %s", status, a)
	}
	if status, a := post(dir, 2); status != 200 {
		t.Errorf("another process: %d %s", status, a)
	}
}

func messageBytes(t *testing.T, s *server) {
	m := newTeam(t, s)
	c := m.owner.daemon(t)
	if e := c.refused(draft("@all", strings.Repeat("x", 1600))); !strings.HasPrefix(e, "payload_too_large: ") || !strings.Contains(e, " > 2048") || !finalForSessions.MatchString(e) {
		t.Errorf("beyond the limit: %q", e)
	}
}

func helloTimeout(t *testing.T, s *server) {
	c := s.dial(t)
	c.write(frame{"type": "list_peers"}) // not a hello, so the timeout continues
	c.await("no_hello", ofType("error"))
	c.awaitClose(1008, "hello_timeout")
}
