package tests

import (
	"regexp"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestReading runs the commands that people read with.
func TestReading(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"inbox", readInbox},
		{"audit", readAudit},
		{"trust and grants", readTrust},
	})
}

// readInbox checks that the inbox shows a message's addressee, that the short id shows the
// whole message, and that the inbox can be searched.
func readInbox(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite("--groups", "ops"), "--name", "bob")
	follow := bob.start("inbox", "--follow")
	await.Until(t, "bob is there", func() bool { return strings.Contains(alice.must("peers"), "bob") })
	alice.must("send", "bob", "for bob")
	alice.must("send", "@ops", "for ops", "--priority", "now")
	alice.must("send", "@all", "for all")
	lines := []string{follow.line(), follow.line(), follow.line()}
	follow.stop()
	ids := make([]string, len(lines))
	for i, form := range []string{`^\S+ ([0-9a-f]{8}) alice: for bob$`, `^\S+ ([0-9a-f]{8}) alice to @ops \[now\]: for ops$`, `^\S+ ([0-9a-f]{8}) alice to everybody: for all$`} {
		found := regexp.MustCompile(form).FindStringSubmatch(lines[i])
		if found == nil {
			t.Fatalf("got %q, want %s", lines[i], form)
		}
		ids[i] = found[1]
	}
	out := bob.must("inbox", "show", ids[1])
	for _, want := range []string{"From      alice, key ", ", proven\n", "To        @ops\n", "Priority  now\n", "\n\nfor ops\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("show does not say %q:\n%s", want, out)
		}
	}
	m := parse(t, bob.must("inbox", "show", ids[1], "--json"))
	if to, ok := m["to"].([]any); !ok || len(to) != 1 || to[0] != "@ops" || m["verified"] != true || m["compared"] != false {
		t.Errorf("show --json: %s", m)
	}
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"for ops", []string{"--group", "ops"}},
		{"for all", []string{"--group", "@all"}},
		{"for bob for ops for all", []string{"--from", "ALICE", "--since", "1h"}},
		{"for ops", []string{"--before", ids[2], "--limit", "1"}},
		{"for bob", []string{"--before", ids[1]}},
		{"", []string{"--from", "bob"}},
		{"", []string{"--from", "alice", "--unread"}},
	} {
		var got []string
		for line := range strings.Lines(bob.must(append([]string{"inbox"}, tc.args...)...)) {
			_, body, _ := strings.Cut(strings.TrimSpace(line), ": ")
			got = append(got, body)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("inbox %v: got %q, want %q", tc.args, got, tc.want)
		}
	}
	follow = bob.start("inbox", "--follow", "--all", "--limit", "2")
	for _, want := range []string{": for ops", ": for all"} {
		if line := follow.line(); !strings.HasSuffix(line, want) {
			t.Errorf("history: got %q, want %q", line, want)
		}
	}
	await.Until(t, "bob is there", func() bool { return strings.Contains(alice.must("peers"), "bob") })
	alice.must("send", "@ops", "news")
	if line := follow.line(); !strings.HasSuffix(line, " alice to @ops: news") {
		t.Errorf("the new message: got %q", line)
	}
	follow.stop()
	bob.must("reply", ids[1], "I", "look")
	answer := parse(t, alice.must("inbox", "--json"))
	if !strings.HasSuffix(answer.str("replyTo"), ids[1]) || answer.str("body") != "I look" || answer.str("sealing") != "direct" {
		t.Errorf("the answer: %s", answer)
	}
	if out := alice.must("inbox", "--all"); !strings.Contains(out, " bob [answers "+ids[1]+"]: I look\n") {
		t.Errorf("the answer is shown as %q", out)
	}
	carol := newPerson(t, s)
	carol.must("join", alice.invite("--groups", "ops"), "--name", "carol")
	carols := carol.start("inbox", "--follow")
	await.Until(t, "carol is there", func() bool { return strings.Contains(alice.must("peers"), "carol") })
	bob.must("reply", ids[1], "--all", "mine")
	if line := carols.line(); !strings.HasSuffix(line, " bob to @ops [answers "+ids[1]+"]: mine") {
		t.Errorf("the answer to all: %q", line)
	}
	bob.fails(2, "wasn't sent to a group", "reply", ids[0], "--all", "x")
	bob.fails(1, "no such message", "reply", "ffffffff", "x")
	bob.fails(1, "no such message", "inbox", "show", "ffffffff")
	bob.fails(2, "too short for the id", "inbox", "show", "fff")
	bob.fails(2, "too short for the id", "reply", "fff", "x")
	bob.fails(2, "too short for the id", "inbox", "--before", "fff")
	bob.fails(2, "isn't a time", "inbox", "--since", "soon")
	bob.fails(2, "group name", "inbox", "--group", "a b")
}

func readAudit(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	alice.must("send", "bob", "hi")
	bob.must("inbox")
	alice.must("ban", "bob")
	out := ""
	await.Until(t, "all entries are in the log", func() bool {
		out = alice.must("audit")
		return strings.Contains(out, "alice (you) banned bob")
	})
	for _, want := range []string{
		`alice \(you\) created the mesh team`, `alice \(you\) made the invite [0-9a-f]{8}: once, as member, valid until `,
		`bob joined as member with the invite [0-9a-f]{8}`, `alice \(you\) sent the message [0-9a-f]{8} to one peer, \d+ bytes`, `bob connected`,
	} {
		if !regexp.MustCompile(`(?m)^\d+ +\d\d:\d\d:\d\d +` + want).MatchString(out) {
			t.Errorf("%s is not in\n%s", want, out)
		}
	}
	if long := regexp.MustCompile(`[0-9a-f]{16}|[{}"]`).FindString(out); long != "" {
		t.Errorf("%s is in\n%s", long, out)
	}
	kinds := func(args ...string) string {
		var list []string
		for _, row := range alice.list(append([]string{"audit", "--json"}, args...)...) {
			list = append(list, row.str("kind"))
		}
		return strings.Join(list, " ")
	}
	if got := kinds("--kind", "message_routed,mesh_created"); got != "mesh_created message_routed" {
		t.Errorf("by kind: %s", got)
	}
	if got := kinds("--member", "alice", "--limit", "2"); got != "message_routed member_banned" {
		t.Errorf("the newest of a member: %s", got)
	}
	if got := kinds("--before", "3"); !strings.HasPrefix(got, "mesh_created") || strings.Count(got, " ") != 1 {
		t.Errorf("before an entry: %s", got)
	}
	if got := kinds("--before", "1"); got != "" {
		t.Errorf("before the first entry: %s", got)
	}
	alice.fails(2, "isn't a kind of entry", "audit", "--kind", "gossip")
	alice.fails(1, "no member or session in this mesh", "audit", "--member", "mallory")
}

// readTrust checks that every command distinguishes proven from compared keys, and that
// members see the grants that they gave.
func readTrust(t *testing.T, s *server) {
	alice, bob, carol := newPerson(t, s), newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	link := alice.invite("--uses", "2")
	bob.must("join", link, "--name", "bob")
	carol.must("join", link, "--name", "carol")
	trust := func(args ...string) string {
		t.Helper()
		for line := range strings.Lines(alice.must(args...)) {
			if fields := strings.Fields(line); fields[0] == "bob" {
				return fields[2]
			}
		}
		t.Fatalf("%v does not list bob", args)
		return ""
	}
	compared := func(args ...string) any {
		for _, row := range alice.list(args...) {
			if row.str("displayName") == "bob" || row.str("from") == "bob" {
				return row["compared"]
			}
		}
		return nil
	}
	if got := []string{trust("peers", "--all"), trust("members")}; got[0] != "proven" || got[1] != "proven" {
		t.Errorf("before: %q", got)
	}
	if compared("peers", "--all", "--json") != false || compared("members", "--json") != false {
		t.Error("before the comparison, the JSON has a wrong trust")
	}
	bob.must("send", "alice", "hi")
	alice.must("verify", "bob", "--confirm")
	if got := []string{trust("peers", "--all"), trust("members")}; got[0] != "compared" || got[1] != "compared" {
		t.Errorf("after: %q", got)
	}
	if compared("peers", "--all", "--json") != true || compared("members", "--json") != true || parse(t, alice.must("inbox", "--json"))["compared"] != true {
		t.Error("after the comparison, the JSON has a wrong trust")
	}

	alice.must("block", "carol")
	alice.must("grant", "bob", "read,broadcast")
	allowed := func(p *person) map[string]any {
		t.Helper()
		all := map[string]any{}
		for _, row := range p.list("members", "--json") {
			all[row.str("displayName")] = row["granted"]
		}
		return all
	}
	got := allowed(alice)
	if list, ok := got["bob"].([]any); !ok || len(list) != 2 || got["alice"] != nil {
		t.Errorf("granted: %v", got)
	}
	if list, ok := got["carol"].([]any); !ok || len(list) != 0 {
		t.Errorf("blocked: %v", got)
	}
	out := alice.must("members")
	if !regexp.MustCompile(`(?m)^bob .* broadcast, read `).MatchString(out) || !regexp.MustCompile(`(?m)^carol .* blocked `).MatchString(out) {
		t.Errorf("members:\n%s", out)
	}
	// A member's grants are visible only to that member.
	if got := allowed(bob); got["carol"] != nil || got["bob"] != nil {
		t.Errorf("bob sees %v", got)
	}
	alice.must("unblock", "carol")
	if got := allowed(alice); got["carol"] != nil {
		t.Errorf("after unblock: %v", got)
	}
}
