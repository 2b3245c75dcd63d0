package broker_test

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
)

// attested connects a session and returns the attestation of its hello.
func (s *server) attested(m member, keys identity.KeyPair, sessionID string) (*client, frame) {
	s.t.Helper()
	hello, c := sessionHello(m, keys, sessionID), s.dial()
	c.send(hello)
	c.next("hello_ack")
	a := hello["parentAttestation"].(frame)
	a["expiresAt"] = float64(a["expiresAt"].(int64)) // as JSON reads it
	return c, a
}

// TestAttestationTravels checks that a session's messages carry its attestation, to other
// members and to its own, pushed from memory and, after a restart, from the storage. The
// roster shows it too, also while the session is leased.
func TestAttestationTravels(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "broker.db")
	var owner, guest member
	var want frame
	a, b, g := newKeys(t), newKeys(t), newKeys(t)
	check := func(c *client) {
		c.t.Helper()
		push := c.next("push")
		if got := push["senderAttestation"]; !reflect.DeepEqual(got, want) {
			c.t.Errorf("push: got attestation %v, want %v", got, want)
		}
	}
	t.Run("before", func(t *testing.T) {
		s := startAt(t, path, nil)
		owner = s.owner()
		guest = s.join(owner)
		var alice *client
		alice, want = s.attested(owner, a, "alice")
		bob, zoe := s.session(owner, b, "bob"), s.session(guest, g, "zoe")
		alice.tell(1, b.Public())
		check(bob)
		alice.tell(2, g.Public())
		check(zoe)
		if got := zoe.peers()["alice"]["attestation"]; !reflect.DeepEqual(got, want) {
			t.Errorf("roster: got attestation %v, want %v", got, want)
		}
	})
	s := startAt(t, path, nil)
	bob, zoe := s.session(owner, b, "bob"), s.session(guest, g, "zoe")
	check(bob)
	check(zoe)
	row := zoe.peers()["alice"]
	if got := row["attestation"]; row["online"] != false || !reflect.DeepEqual(got, want) {
		t.Errorf("roster while leased: got %v, want offline with attestation %v", row, want)
	}
	// The newest attestation replaces the older one.
	alice, newer := s.attested(owner, a, "alice")
	want = newer
	alice.tell(3, g.Public())
	check(zoe)
	if got := zoe.peers()["alice"]["attestation"]; !reflect.DeepEqual(got, want) {
		t.Errorf("roster after the session came back: got attestation %v, want %v", got, want)
	}
}

// TestNoAttestationWithoutProof checks that a connection that does not prove its session
// key has no attestation.
func TestNoAttestationWithoutProof(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	b := newKeys(t)
	bob, daemon := s.session(m, b, "bob"), s.dial()
	ts, sig := identity.SignHello(m.keys, m.mesh, m.member, helloTime())
	daemon.send(frame{
		"type": "hello", "meshId": m.mesh, "memberId": m.member, "pubkey": m.keys.Public().String(),
		"sessionPubkey": newKeys(t).Public().String(), "sessionId": "x", "displayName": "x", "pid": 1, "cwd": "/",
		"timestamp": ts, "signature": sig.String(),
		"parentAttestation": sessionHello(m, b, "x")["parentAttestation"],
	})
	daemon.next("hello_ack")
	daemon.send(message(1, b.Public(), 10))
	if push := bob.next("push"); push["senderAttestation"] != nil {
		t.Errorf("got push %v, want no attestation", push)
	}
	if row := bob.peers()["x"]; row == nil || row["attestation"] != nil {
		t.Errorf("got row %v, want one without an attestation", row)
	}
}

// TestSetStatusFromHook checks that a status that a client passes on from a hook counts as
// a hook's, and that the roster shows its reason as long as the status lasts.
func TestSetStatusFromHook(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	c := s.session(m, newKeys(t), "me")
	for i, step := range []struct {
		set            frame
		status, reason any
	}{
		{frame{"status": "idle", "source": "hook", "reason": "waiting"}, "idle", "waiting"},
		{frame{"status": "idle", "source": "hook", "reason": "waiting"}, "idle", "waiting"},
		{frame{"status": "idle", "source": "hook"}, "idle", nil},
		{frame{"status": "working", "source": "hook", "reason": "compacting"}, "working", "compacting"},
		{frame{"status": "idle"}, "idle", nil},
		{frame{"status": "dnd", "reason": "lunch"}, "dnd", "lunch"},
		{frame{"status": "idle", "source": "hook", "reason": "waiting"}, "dnd", "lunch"},
		{frame{"status": "working"}, "working", nil},
	} {
		step.set["type"] = "set_status"
		c.send(step.set)
		if row := c.peers()["me"]; row["status"] != step.status || row["statusReason"] != step.reason {
			t.Errorf("step %d: got %v, %v; want %v, %v", i, row["status"], row["statusReason"], step.status, step.reason)
		}
	}
	for _, bad := range []frame{
		{"status": "idle", "source": "guess"}, {"status": "idle", "reason": string(make([]byte, 65))},
		{"status": "idle", "cannotRead": string(make([]byte, 129))},
	} {
		bad["type"], bad["_reqId"] = "set_status", "r"
		c.send(bad)
		if e := c.next("error"); e["code"] != "invalid" || e["_reqId"] != "r" {
			t.Errorf("%v: got %v, want the error invalid", bad, e)
		}
	}
}

// TestCannotRead checks that the roster shows the last cannotRead that a peer sent, also
// if the broker does not take the status that came with it, and after a reconnect.
func TestCannotRead(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	m := s.owner()
	keys := newKeys(t)
	c := s.session(m, keys, "me")
	const why = "hooks are off on that machine"
	for i, step := range []struct {
		set          frame
		status, want any
	}{
		{frame{"status": "idle", "source": "hook"}, "idle", nil},
		{frame{"status": "idle", "source": "hook", "cannotRead": why}, "idle", why},
		{frame{"status": "working", "source": "hook"}, "working", why},
		{frame{"status": "dnd"}, "dnd", why},
		{frame{"status": "idle", "source": "hook", "cannotRead": ""}, "dnd", nil},
		{frame{"status": "idle", "source": "hook", "cannotRead": why}, "dnd", why},
	} {
		step.set["type"] = "set_status"
		c.send(step.set)
		if row := c.peers()["me"]; row["status"] != step.status || row["cannotRead"] != step.want {
			t.Errorf("step %d: got %v, %v; want %v, %v", i, row["status"], row["cannotRead"], step.status, step.want)
		}
	}
	again := s.session(m, keys, "me")
	if row := again.peers()["me"]; row["cannotRead"] != why {
		t.Errorf("after a reconnect: got row %v, want cannotRead %q", row, why)
	}
}

// TestHookStatusOverTheConnectionExpires checks that a hook's working, sent over the
// connection, becomes idle when the session shows no sign of life, as one posted over HTTP
// does.
func TestHookStatusOverTheConnectionExpires(t *testing.T) {
	t.Parallel()
	s := start(t, func(s *broker.Settings) { s.StatusTTL = time.Second })
	m := s.owner()
	c := s.session(m, newKeys(t), "me")
	c.send(frame{"type": "set_status", "status": "working", "source": "hook", "reason": "x"})
	if row := c.peers()["me"]; row["status"] != "working" {
		t.Fatalf("got row %v, want status working", row)
	}
	for end := time.Now().Add(await.Patience); ; {
		row := c.peers()["me"]
		if row["status"] == "idle" && row["statusReason"] == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("got row %v, want status idle without a reason", row)
		}
	}
}
