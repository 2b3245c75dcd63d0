package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

func TestCheckKeepsToItsBudget(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from, to := alice.session().connected(), bob.session().connected()
	key := to.key().String()
	long := strings.Repeat("ä", 20000)
	from.send(key, long)
	for i := range 10 {
		from.send(key, fmt.Sprint(i)+strings.Repeat("x", 4000))
	}
	await.Until(t, "all messages have come", func() bool { return unread(to) == 11 })

	check := func(in local.Check) (out local.Checked) {
		t.Helper()
		to.must(local.VerbCheck, in, &out)
		return out
	}
	first := check(local.Check{})
	if len(first.Messages) < 2 || first.Remaining != 11-len(first.Messages) {
		t.Fatalf("%d messages, %d remain", len(first.Messages), first.Remaining)
	}
	m, chars := first.Messages[0], 0
	for i := range first.Messages {
		chars += len([]rune(first.Messages[i].Text))
	}
	if chars > checkChars || m.Length != 20000 || m.Text != long[:2*messageChars] {
		t.Errorf("%d characters; the long one has %d, and says %d", chars, len([]rune(m.Text)), m.Length)
	}
	rest := check(local.Check{MessageID: m.ID, Offset: messageChars})
	if len(rest.Messages) != 1 || rest.Messages[0].Text != long[2*messageChars:] || rest.Messages[0].Offset != messageChars {
		t.Errorf("the rest: %+v", rest.Messages)
	}
	if beyond := check(local.Check{MessageID: m.ID, Offset: 1 << 30}); beyond.Messages[0].Text != "" {
		t.Errorf("beyond the end: %q", beyond.Messages[0].Text)
	}
	if one := check(local.Check{Limit: 1}); len(one.Messages) != 1 || one.Remaining != first.Remaining-1 {
		t.Errorf("limit 1: %d messages, %d remain", len(one.Messages), one.Remaining)
	}
	var e *local.Error
	for _, in := range []local.Check{{MessageID: "00000000"}, {MessageID: "x"}, {MessageID: m.ID, Offset: -1}} {
		if err := to.call(local.VerbCheck, in, nil); !errors.As(err, &e) || e.Status >= 500 {
			t.Errorf("%+v: %v", in, err)
		}
	}
	if n := unread(to); n != first.Remaining-1 {
		t.Errorf("%d are unread", n)
	}
}

func TestMemberMailGoesToTheSessionLastActive(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from := alice.session().connected()
	await.Until(t, "bob's daemon is connected", func() bool { return bob.status().Meshes[0].Connected })
	from.send("bob", "before any session")
	await.Until(t, "the message has come", func() bool { return bob.status().Meshes[0].Unread == 1 })
	first, second := bob.session().connected(), bob.session().connected()
	wake := func(p *program) chan string {
		client, err := local.Session(bob.dir, p.pid())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		t.Cleanup(cancel)
		pointers := make(chan string, 10)
		go func() {
			_ = client.Wake(ctx, local.Wake{Path: local.PathMonitor, PID: p.pid()}, func(w local.Woken) error {
				if w.Pointer != "" {
					pointers <- w.Pointer
				}
				return nil
			})
		}()
		return pointers
	}
	toFirst, toSecond := wake(first), wake(second)
	if got := <-toSecond; !strings.HasPrefix(got, "1 unread mesh message") {
		t.Errorf("pointer %q", got)
	}
	bob.must(local.VerbActivity, local.Activity{PID: first.pid(), SessionID: first.id}, nil)
	from.send("bob", "while the first is active")
	if got := <-toFirst; !strings.Contains(got, "2 unread") {
		t.Errorf("pointer %q", got)
	}
	if got := first.texts(2); !slices.Equal(got, []string{"before any session", "while the first is active"}) {
		t.Errorf("got %q", got)
	}
	var checked local.Checked
	second.must(local.VerbCheck, local.Check{}, &checked)
	if len(checked.Messages) != 0 || len(toSecond) != 0 {
		t.Errorf("the other session got it too: %+v", checked.Messages)
	}
}

func TestGroupMessagesAreConfirmedByEach(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from := alice.session().connected()
	first, second := bob.session().connected(), bob.session(func(r *local.Register) { r.Name = "second" }).connected()
	second.must(local.VerbJoinGroup, local.Group{Name: "review", Role: "lead"}, nil)
	await.Until(t, "the group is known", func() bool { return len(rowOf(alice, second.id).Groups) == 1 })
	sent := from.send("@review", "to the group")
	if got := second.texts(1); got[0] != "to the group" {
		t.Errorf("got %q", got)
	}
	status := from.awaitState(sent.ID, local.Delivered)
	if len(status.Recipients) != 1 || status.Recipients[0].Key != second.key() || status.Recipients[0].Name != "second" {
		t.Errorf("recipients: %+v", status.Recipients)
	}
	if n := unread(first); n != 0 {
		t.Errorf("a session outside the group got %d messages, want none", n)
	}
	second.must(local.VerbLeaveGroup, local.Group{Name: "review"}, nil)
	await.Until(t, "the group is left", func() bool { return len(rowOf(alice, second.id).Groups) == 0 })
}

func TestSendRefuses(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	a, b := alice.session().connected(), bob.session().connected()
	for _, tc := range []struct {
		name, code string
		in         local.Send
	}{
		{"nobody", local.CodeInvalid, local.Send{Text: "x"}},
		{"nothing", local.CodeInvalid, local.Send{To: "bob"}},
		{"too long", local.CodeInvalid, local.Send{To: "bob", Text: strings.Repeat("x", maxText+1)}},
		{"longer than the broker takes", local.CodeRefused, local.Send{To: "bob", Text: strings.Repeat("x", 70000)}},
		{"unknown name", local.CodeNotFound, local.Send{To: "carol", Text: "x"}},
		{"itself", local.CodeInvalid, local.Send{To: a.key().String(), Text: "x"}},
		{"unknown priority", local.CodeInvalid, local.Send{To: "bob", Text: "x", Priority: "urgent"}},
		{"unknown mesh", local.CodeNotFound, local.Send{To: "bob", Text: "x", Mesh: "other"}},
		{"unknown message", local.CodeNotFound, local.Send{Text: "x", ReplyTo: "0123456789"}},
		{"no group", local.CodeInvalid, local.Send{To: "@", Text: "x"}},
		{"a group that nobody is in", local.CodeRefused, local.Send{To: "@nogroup", Text: "x"}},
		{"a name as a group", local.CodeRefused, local.Send{To: "@bob", Text: "x"}},
	} {
		var e *local.Error
		if err := a.call(local.VerbSend, tc.in, nil); !errors.As(err, &e) || e.Code != tc.code || e.Message == "" {
			t.Errorf("%s: %v", tc.name, err)
		} else if strings.Contains(e.Message, "claudemesh ") {
			t.Errorf("%s: a model is told to use a command: %s", tc.name, e.Message)
		}
	}
	var e *local.Error
	for to, says := range map[string]string{
		"@bob": `nothing was sent to @bob: there is no group @bob: nobody belongs to it; did you mean "bob"?`, "bbo": `did you mean "bob"?`,
	} {
		if err := a.call(local.VerbSend, local.Send{To: to, Text: "x"}, nil); !errors.As(err, &e) || !strings.Contains(e.Message, says) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if err := a.call(local.VerbSend, local.Send{To: "bob", Text: strings.Repeat("x", 70000)}, nil); !errors.As(err, &e) || !strings.Contains(e.Message, "it has 70000 bytes, and this broker accepts at most 49064") {
		t.Errorf("too long: %v", err)
	}
	once := local.Send{To: "bob-session", Text: "once", ClientID: "my-id", Priority: wire.Now}
	for range 3 {
		var sent local.Sent
		a.must(local.VerbSend, once, &sent)
		if sent.ID != "my-id" || sent.To != "bob-session" {
			t.Errorf("sent %+v", sent)
		}
	}
	if got := b.texts(1); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	if err := b.call(local.VerbSend, local.Send{To: "*", Text: "x", ClientID: "my-id"}, nil); err != nil {
		t.Errorf("the same id in another daemon: %v", err)
	}
	for range 2 {
		if err := a.call(local.VerbSend, local.Send{To: "@nogroup", Text: "x", ClientID: "refused-id"}, nil); !errors.As(err, &e) || e.Code != local.CodeRefused || !strings.Contains(e.Message, "there is no group @nogroup") {
			t.Errorf("a repeated call whose message the broker refused: %v", err)
		}
	}
	other := alice.session().connected()
	if err := other.call(local.VerbSend, once, nil); !errors.As(err, &e) || e.Code != local.CodeInvalid {
		t.Errorf("the id of another session's message: %v", err)
	}
	for i := 0; ; i++ {
		err := a.call(local.VerbSend, local.Send{To: "bob-session", Text: "again"}, nil)
		if errors.As(err, &e) && e.Code == local.CodeRefused && i > 5 {
			break // the daemon breaks the loop
		}
		if err != nil || i > 100 {
			t.Fatalf("send %d without a user: %v", i, err)
		}
	}
}

func TestFloodIsRefused(t *testing.T) {
	t.Parallel()
	const most, beyond = 30, 20
	_, alice, bob := pair(t)
	bob.up(func(o *Options) { o.maxUnread = most })
	to := bob.session().connected()
	key := to.key()
	confirmed := make(chan peer.Confirmed, 10*(most+beyond))
	flood := alice.dialSession(peer.Options{OnConfirmation: func(_ context.Context, c peer.Confirmation) error {
		for _, m := range c.Messages {
			confirmed <- m
		}
		return nil
	}})
	for i := range most + beyond {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := flood.Send(ctx, peer.Outgoing{To: []wire.Target{{Kind: wire.TargetKey, Key: key}}, Body: []byte(fmt.Sprint(i)), Priority: wire.Now})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for range most + beyond {
		select {
		case m := <-confirmed:
			if m.State == peer.ConfirmedRefused {
				refused++
			}
		case <-time.After(patience):
			t.Fatal("not all messages were confirmed")
		}
	}
	if n := unread(to); n != most || refused != beyond {
		t.Errorf("%d messages are unread, %d were refused", n, refused)
	}
}

// TestFloodToEverybody checks that a session learns that it has missed messages to everybody, which
// have no receipts.
func TestFloodToEverybody(t *testing.T) {
	t.Parallel()
	const most = 5
	_, alice, bob := pair(t)
	bob.up(func(o *Options) { o.maxUnread = most })
	to := bob.session().connected()
	flood := alice.dialSession(peer.Options{})
	for i := range 3 * most {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := flood.Send(ctx, peer.Outgoing{To: []wire.Target{{Kind: wire.TargetAll}}, Body: []byte(fmt.Sprint(i)), Priority: wire.Now})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	await.Until(t, "all messages that the daemon keeps have come", func() bool { return unread(to) == most+1 })
	var checked local.Checked
	to.must(local.VerbCheck, local.Check{ToolUseID: "x"}, &checked)
	if len(checked.Messages) != most+1 {
		t.Fatalf("%d messages", len(checked.Messages))
	}
	for i, m := range checked.Messages {
		if beyond := i == most; beyond != (m.Text == "") || beyond != strings.Contains(m.Error, "too many") {
			t.Errorf("message %d: %+v", i, m)
		}
	}
}

// TestTextTooLarge checks that a message that the broker refuses fails, and the next
// messages don't wait for it.
func TestTextTooLarge(t *testing.T) {
	t.Parallel()
	_, alice, bob := pair(t)
	alice.up()
	bob.up()
	from, to := alice.session().connected(), bob.session().connected()
	large := local.Send{To: "bob-session", Text: strings.Repeat("x", 250_000), ClientID: "large-text"}
	if err := from.call(local.VerbSend, large, nil); err != nil && !strings.Contains(err.Error(), "the broker refused the message") {
		t.Error(err)
	}
	from.awaitState("large-text", local.Failed)
	from.send("bob-session", "small")
	if got := to.texts(1); got[0] != "small" {
		t.Errorf("got %q", got)
	}
}

func TestSlice(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in           string
		offset, most int
		want         string
		length       int
	}{
		{"", 0, 5, "", 0}, {"abc", 0, 5, "abc", 3}, {"abc", 1, 1, "b", 3}, {"äöü", 1, 2, "öü", 3},
		{"abc", 3, 1, "", 3}, {"abc", 9, 1, "", 3}, {"a\xffb", 1, 1, "\ufffd", 3}, {"xe\u0301👩‍💻", 1, 4, "e\u0301", 6},
	} {
		if got, n := slice(tc.in, tc.offset, tc.most); got != tc.want || n != tc.length {
			t.Errorf("%q from %d: %q, %d", tc.in, tc.offset, got, n)
		}
	}
}
