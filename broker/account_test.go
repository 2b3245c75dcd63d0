package broker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/wire"
)

// final matches the words in a refusal that make a v1 client give up at once.
var final = regexp.MustCompile(`(?i)unknown|invalid|forbidden|not_authorized|not_found|payload_too_large|schema|auth|signature`)

// wantTransient checks that a refusal names the limit, says when to try again, and does
// not make a v1 client give up.
func wantTransient(t *testing.T, text, limit string) {
	t.Helper()
	if final.MatchString(text) || !strings.Contains(text, limit) || !strings.Contains(text, "try again in ") {
		t.Errorf("refused with %q, want a transient error that names %s and says when to try again", text, limit)
	}
}

// refused sends a frame up to most times, and returns the text of the first refusal by a
// limit, or "" if there was none.
func (c *client) refused(f frame, most int) string {
	c.t.Helper()
	for range most {
		c.send(f)
		for answered := f["_reqId"] == nil; !answered; {
			_, data, err := c.ws.Read(context.Background())
			if err != nil {
				c.t.Fatal(err)
			}
			var got struct{ Type, Code, Message, Error string }
			if err := json.Unmarshal(data, &got); err != nil {
				c.t.Fatal(err)
			}
			answered = got.Type != "push" // a push is news, not the answer
			if got.Code == "rate_limit" {
				return got.Message
			}
			if strings.HasPrefix(got.Error, "rate_limit: ") {
				return got.Error
			}
		}
	}
	return ""
}

// TestEveryRequestIsPaidFor checks that each type of frame is charged to the member, over
// all its connections, and not to other members.
func TestEveryRequestIsPaidFor(t *testing.T) {
	requests := map[string]frame{
		"list_peers":      {},
		"message_status":  {"messageId": "0123456789"},
		"set_profile":     {"title": "x"},
		"set_visible":     {"visible": true},
		"invite_list":     {},
		"member_list":     {},
		"member_set_role": {"pubkey": strings.Repeat("0", 64), "role": "admin"},
		"grant_set":       {"pubkey": strings.Repeat("0", 64), "capabilities": []string{}},
		"audit_query":     {},
		"no such type":    {},
		"send":            {"targetSpec": "*", "priority": "next", "nonce": "AAAA", "ciphertext": "AAAA"},
	}
	for kind, f := range requests {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			// The budget hardly refills during the test.
			s := start(t, func(s *broker.Settings) { s.WorkPerMin, s.WorkBurst = 1, 1000 })
			owner := s.owner()
			guest := s.join(owner)
			for i := range 6 {
				s.session(guest, newKeys(t), fmt.Sprint("guest", i))
			}
			f["type"], f["_reqId"] = kind, "r"
			if kind == "no such type" {
				f["padding"] = strings.Repeat("x", 5000)
			}
			greedy, other := s.session(owner, newKeys(t), "greedy"), s.session(owner, newKeys(t), "other")
			text := greedy.refused(f, 2000)
			wantTransient(t, text, "work_per_min")
			if text := other.refused(f, 1); text == "" {
				t.Error("another connection of the refused member was served")
			}
			s.session(guest, newKeys(t), "bystander").wantPeers("greedy", "other", "bystander", "guest0", "guest1", "guest2", "guest3", "guest4", "guest5")
		})
	}
}

// TestBudgetFillsAgain checks that the budget refills: a member that waits for each
// answer is never refused.
func TestBudgetFillsAgain(t *testing.T) {
	s := start(t, func(s *broker.Settings) { s.WorkPerMin, s.WorkBurst = 60*1000, 1000 })
	c := s.session(s.owner(), newKeys(t), "greedy")
	for range 80 { // requests of 31 units each
		if text := c.refused(frame{"type": "member_list", "_reqId": "r"}, 1); text != "" {
			t.Fatalf("a member that waits for each answer was refused: %s", text)
		}
	}
}

// TestAcknowledgementsAreFree checks that acknowledging a message costs nothing.
func TestAcknowledgementsAreFree(t *testing.T) {
	s := start(t, func(s *broker.Settings) { s.WorkPerMin, s.WorkBurst = 1, 1000 })
	owner := s.owner()
	a, b := newKeys(t), newKeys(t)
	sender, recipient := s.session(owner, a, "a"), s.session(owner, b, "b")
	for n := range 300 {
		sender.tell(n, b.Public())
		recipient.gets(n)
	}
	for range 25 { // requests of 31 units each; the two hellos cost 100
		if text := recipient.refused(frame{"type": "member_list", "_reqId": "r"}, 1); text != "" {
			t.Fatalf("the acknowledgements were charged: refused with %s", text)
		}
	}
}

// TestUnreadAnswers checks that a member whose connections do not read their answers gets
// no more, and that other members still do.
func TestUnreadAnswers(t *testing.T) {
	s := start(t, func(s *broker.Settings) { s.WorkPerMin, s.WorkBurst = 1e9, 1e9 })
	owner := s.owner()
	guest := s.join(owner)
	long := strings.Repeat("x", 4000)
	for i := range 60 { // makes a roster of about 700 kB
		c := s.session(guest, newKeys(t), fmt.Sprint("guest", i))
		c.send(frame{"type": "set_summary", "summary": long})
		c.send(frame{"type": "set_profile", "bio": long, "avatar": long, "_reqId": "p"})
		c.next("ack")
	}
	for range 30 {
		lazy := s.session(owner, newKeys(t), "lazy")
		for range 30 { // more than the connection and the broker buffer
			lazy.send(frame{"type": "list_peers", "_reqId": "r"})
		}
	}
	greedy := s.session(owner, newKeys(t), "greedy")
	await.Until(s.t, "the member is refused", func() bool {
		text := greedy.refused(frame{"type": "list_peers", "_reqId": "r"}, 1)
		if text != "" {
			wantTransient(t, text, "bytes of answers")
		}
		return text != ""
	})
	if rows := s.session(guest, newKeys(t), "bystander").peers(); rows["bystander"] == nil {
		t.Error("another member got no roster or one without itself")
	}
	if backlog := s.Stats().Backlog; backlog > 4<<20 {
		t.Errorf("%d bytes wait on one connection, want at most %d", backlog, 4<<20)
	}
}

// TestNewSessionsAreLimited checks that a member can begin new sessions up to its limit.
// Sessions that the broker knows, sessions of other members and one-shot commands do not
// count.
func TestNewSessionsAreLimited(t *testing.T) {
	s := start(t, func(s *broker.Settings) { s.NewSessionsPerHour = 3 })
	owner := s.owner()
	guest := s.join(owner)
	first := newKeys(t)
	s.session(owner, first, "first")
	s.session(owner, newKeys(t), "second")
	s.session(owner, newKeys(t), "third")

	wantRefused := func(hello frame) {
		t.Helper()
		c := s.dial()
		c.send(hello)
		e := c.next("error")
		if e["code"] != string(wire.CodeTryAgain) {
			t.Errorf("refused with %v, want %s", e["code"], wire.CodeTryAgain)
		}
		wantTransient(t, e["message"].(string), "new_sessions_per_hour")
		if reason := c.closed(); reason != string(wire.CodeTryAgain) {
			t.Errorf("closed with %q, want %q", reason, wire.CodeTryAgain)
		}
	}
	for range 3 {
		wantRefused(sessionHello(owner, newKeys(t), "fourth"))
	}
	wantRefused(memberHello(owner, frame{"hostname": "a new host"}))
	s.session(owner, first, "first again")
	s.session(guest, newKeys(t), "guest")
	for range 5 {
		c := s.dial()
		c.send(memberHello(owner, frame{"sessionPubkey": newKeys(t).Public().String()}))
		c.next("hello_ack")
	}
	mesh, err := wire.ParseID(owner.mesh)
	if err != nil {
		t.Fatal(err)
	}
	known, err := s.store.KnownSessions(t.Context(), mesh)
	if err != nil || len(known) != 4 {
		t.Errorf("got %d stored sessions, %v; want the owner's three and the guest's one", len(known), err)
	}
}

func memberHello(m member, more frame) frame {
	ts, sig := identity.SignHello(m.keys, m.mesh, m.member, helloTime())
	f := frame{
		"type": "hello", "meshId": m.mesh, "memberId": m.member, "pubkey": m.keys.Public().String(), "sessionId": "x",
		"pid": 1, "cwd": "/", "timestamp": ts, "signature": sig.String(),
	}
	for name, value := range more {
		f[name] = value
	}
	return f
}

// TestHellosArePaidFor checks that hellos are charged to their member, and that other
// members still get in.
func TestHellosArePaidFor(t *testing.T) {
	s := start(t, func(s *broker.Settings) { s.WorkPerMin, s.WorkBurst = 1, 1000 })
	owner := s.owner()
	guest := s.join(owner)
	for i := 0; ; i++ {
		if i == 100 {
			t.Fatal("the broker accepted 100 hellos")
		}
		c := s.dial()
		c.send(memberHello(owner, frame{"capabilities": []string{wire.CapTransient}, "sessionId": fmt.Sprint(i)}))
		_, data, err := c.ws.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got wire.Error
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		if got.Type == wire.TypeError {
			wantTransient(t, got.Message, "work_per_min")
			break
		}
		_ = c.ws.CloseNow()
	}
	s.session(guest, newKeys(t), "guest")
}
