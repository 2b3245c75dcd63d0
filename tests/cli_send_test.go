package tests

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

func TestSendFromTheCommandLine(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"groups that nobody is in", emptyGroups},
		{"a message from the terminal", typedMessage},
		{"words are joined", joinedWords},
		{"longer than the broker takes", tooLong},
		{"output that can't be written", unwrittenOutput},
		{"wait", sendWaits},
		{"remove asks", removeAsks},
		{"habits of protocol v1", v1Habits},
	})
}

// emptyGroups checks that the command doesn't send to a group without other members.
func emptyGroups(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite("--groups", "dev/web"), "--name", "bob")
	for _, tc := range []struct{ to, says string }{
		{"@nogroup", "there is no group @nogroup"},
		{"@bob", `there is no group @bob: nobody belongs to it; did you mean "bob"?`},
		{"@BOB", `did you mean "bob"?`},
		{"@bbo", `did you mean "bob"?`},
		{"@dev", "nobody else is in @dev now"},
		{"@dev/web", "nobody else is in @dev/web now"},
		{"@dev/we", "there is no group @dev/we"},
		{"@all", "nobody else is here now"},
		{"*", "nobody else is here now"},
	} {
		alice.fails(1, tc.says, "send", tc.to, "hi")
		alice.fails(1, "nothing was sent", "send", tc.to, "hi", "--json")
	}
	alice.fails(1, `did you mean "bob"?`, "send", "bbo", "hi")
	inbox := bob.start("inbox", "-f", "--json")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 1 })
	alice.must("send", "@dev", "to dev")
	if m := parse(t, inbox.line()); m.str("body") != "to dev" {
		t.Errorf("got %s", m)
	}
	alice.fails(1, `did you mean "@dev/web"?`, "send", "@dev/wbe", "hi")
	bob.fails(1, "nobody else is in @dev now", "send", "@dev", "only I am in it")
	if out := bob.must("inbox", "--all"); strings.Count(out, "\n") != 1 {
		t.Errorf("bob's inbox: %s", out)
	}
}

func typedMessage(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	typing := alice.terminal("send", "bob", "-")
	typing.awaits("Ctrl-D")
	typing.types("never mind\n\x03")
	typing.ends(130)
	if out := typing.screen(); !strings.Contains(out, "interrupted; nothing was sent") {
		t.Errorf("interrupted: %s", out)
	}
	typing = alice.terminal("send", "bob", "-")
	typing.awaits("Ctrl-D")
	typing.types("two\nlines\n\x04")
	typing.awaits("queued for bob")
	typing.ends(0)
	if out := bob.must("inbox"); !strings.HasSuffix(out, ": two\n    lines\n") {
		t.Errorf("bob's inbox: %q", out)
	}
	for _, reads := range [][]string{{"join", "-"}, {"audit", "verify", "--offline", "-"}, {"restore", "-", "--passphrase-file", os.DevNull}} {
		typing = alice.terminal(reads...)
		typing.awaits("Ctrl-C cancels")
		typing.types("x\x03")
		typing.ends(130)
	}
	if _, errOut, code := alice.runWith("", "send", "bob", "-"); code != 2 || !strings.Contains(errOut, "message is empty") || strings.Contains(errOut, "Ctrl-D") {
		t.Errorf("nothing from a pipe: %d %s", code, errOut)
	}
}

func joinedWords(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	for _, args := range [][]string{{"hello", "world"}, {"hello world"}, {"--priority", "now", "hello", "world"}, {"--", "-x", "--", "-"}, {"a", "-"}} {
		alice.must(append([]string{"send", "bob"}, args...)...)
	}
	alice.fails(2, "put -- before the message", "send", "bob", "try", "--now")
	out := bob.must("inbox")
	for i, want := range []string{"hello world", "hello world", "hello world", "-x -- -", "a -"} {
		if lines := strings.Split(out, "\n"); len(lines) != 6 || !strings.HasSuffix(lines[i], ": "+want) {
			t.Errorf("message %d should be %q:\n%s", i, want, out)
		}
	}
}

// tooLong checks that the error states the limit in bytes of the sender's text, and that a
// message of exactly this length is accepted.
func tooLong(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	inbox := bob.start("inbox", "-f", "--json")
	await.Until(t, "bob is there", func() bool { return len(alice.list("peers", "--json")) == 1 })
	for to, most := range map[string]string{"bob": "49064", "@all": "49045"} {
		alice.fails(1, "the message is too long: it has 64000 bytes, and this broker accepts at most "+most, "send", to, strings.Repeat("x", 64_000))
		alice.fails(1, "nothing was sent", "send", to, strings.Repeat("ä", 32_000))
	}
	for to, size := range map[string]int{"bob": 49_064, "@all": 49_045} {
		alice.fails(1, "too long", "send", to, strings.Repeat("x", size+1))
		alice.must("send", to, strings.Repeat("x", size))
		if m := parse(t, inbox.line()); len(m.str("body")) != size {
			t.Errorf("%s got %d bytes", to, len(m.str("body")))
		}
	}
}

// unwrittenOutput checks that a user whose output could not be written learns that the message is
// sent, and that an invite whose link nobody saw is a failure.
func unwrittenOutput(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	unwritable, err := os.Open(os.DevNull) // for reading
	if err != nil {
		t.Fatal(err)
	}
	defer unwritable.Close()
	for _, args := range [][]string{{"send", "bob", "hi"}, {"send", "bob", "hi", "--json"}, {"invite"}} {
		cmd := alice.command(args...)
		var errs strings.Builder
		cmd.Stdout, cmd.Stderr = unwritable, &errs
		if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%v: %v, want exit code 1", args, err)
		}
		if args[0] == "send" && !strings.Contains(errs.String(), "the broker has the message") {
			t.Errorf("%v says %q, not that the broker has the message", args, errs.String())
		}
	}
}

// TestShortIDs checks that status accepts the id that send prints, even for messages from
// the same minute, and that it accepts longer forms, too.
func TestShortIDs(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, s *server) { shortIDs(t, s) })
}

func shortIDs(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	var ids []string
	for range 3 {
		short, _, _ := strings.Cut(alice.must("send", "bob", "x"), " ")
		if len(short) != 8 {
			t.Fatalf("send prints %q", short)
		}
		status := parse(t, alice.must("status", short, "--json"))
		id := status.str("messageId")
		if len(id) != 32 || !strings.HasSuffix(id, short) {
			t.Errorf("status of %s: %s", short, status)
		}
		for _, form := range []string{id, id[:31], id[1:], id[20:]} {
			if got := parse(t, alice.must("status", form, "--json")); got.str("messageId") != id {
				t.Errorf("status of %s: %s", form, got)
			}
		}
		if out := alice.must("message", "status", short); !strings.Contains(out, "bob") {
			t.Errorf("message status: %s", out)
		}
		ids = append(ids, id)
		alice.fails(2, "the last 8 characters", "status", short[1:])
		bob.fails(1, "not found", "status", short)
		s.Stop() // and after a restart
		s.Start()
		alice.must("status", short)
	}
	if a, b := ids[0][:8], ids[2][:8]; a == b { // the first digits are the time, to about a minute
		alice.fails(1, "it means several messages", "status", a)
	}
	alice.fails(1, "not found", "status", "00000000")
}

func sendWaits(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	out, errOut, code := alice.run("send", "bob", "nobody is there", "--wait", "delivered", "--timeout", "1s")
	if code != 3 || !strings.Contains(out, "queued for bob (away)") || !strings.Contains(errOut, "within 1s") {
		t.Errorf("nobody is there: %d %s%s", code, out, errOut)
	}
	waiting := alice.terminal("send", "bob", "come", "--wait", "delivered", "--timeout", "1d")
	waiting.awaits("waiting for its delivery")
	waiting.types("\x03")
	waiting.ends(130)
	if out := waiting.screen(); !strings.Contains(out, "the broker has the message") || !strings.Contains(out, "claudemesh status ") {
		t.Errorf("interrupted: %s", out)
	}
	waiting = alice.terminal("send", "bob", "again", "--wait", "delivered", "--timeout", "1d")
	waiting.awaits("waiting for its delivery")
	bob.must("inbox")
	waiting.ends(0)
	if out := waiting.screen(); !strings.Contains(out, "delivered to bob") {
		t.Errorf("waited for: %s", out)
	}
	waiting = alice.terminal("send", "bob", "lost", "--wait", "delivered", "--timeout", "1d")
	waiting.awaits("waiting for its delivery")
	alice.must("remove", "bob", "-y")
	waiting.ends(1)
	alice.fails(2, `not "sent"`, "send", "bob", "x", "--wait", "sent")
	alice.fails(2, "duration", "send", "bob", "x", "--wait", "delivered", "--timeout", "soon")
}

func removeAsks(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	alice.fails(2, "nothing was changed", "remove", "bob")
	for _, answer := range []string{"no\n", "\n", "maybe\n"} {
		asked := alice.terminal("remove", "bob")
		asked.awaits("for good?")
		asked.types(answer)
		asked.ends(1)
	}
	asked := alice.terminal("remove", "bob")
	asked.awaits("for good?")
	asked.types("\x03")
	asked.ends(130)
	bob.must("peers")
	asked = alice.terminal("remove", "bob")
	asked.awaits("for good?")
	asked.types("yes\n")
	asked.awaits("Removed bob.")
	asked.ends(0)
	bob.fails(1, "removed from", "peers")
}

func v1Habits(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	if out := alice.must("grant", "bob", "read", "dm"); !strings.Contains(out, "bob may now: read, dm. No longer: broadcast, state-read.") {
		t.Errorf("grant: %s", out)
	}
	if out := alice.must("grant", "bob", "read,dm, broadcast state-read"); strings.Contains(out, "No longer") {
		t.Errorf("grant: %s", out)
	}
	alice.fails(2, "set_status", "status", "set", "dnd")
	alice.fails(2, "doctor", "status")
	alice.must("message", "send", "bob", "hello", "there")
	alice.fails(1, "no connected peer", "kick", "bob")
	if out := bob.must("inbox"); !strings.HasSuffix(out, ": hello there\n") {
		t.Errorf("bob's inbox: %q", out)
	}
}

// TestSendToABrokerThatIsSilent checks that a command says what it is waiting for, that
// Ctrl-C ends it, and that it says what happened to the message.
func TestSendToABrokerThatIsSilent(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and sends nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	url := "ws://" + silent.Addr().String() + "/ws"
	for _, args := range [][]string{{"send", "bob", "x"}, {"peers"}, {"members"}, {"create", "other"}, {"leave", "team", "--yes"}, {"whoami"}} {
		waiting := alice.terminal(append(args, "--broker", url)...)
		waiting.awaits("the broker at " + url)
		if args[0] == "send" {
			waiting.awaits("with --no-wait the daemon")
		}
		waiting.types("\x03")
		waiting.ends(130)
		if out := waiting.screen(); strings.Contains(out, "nothing was sent") != (args[0] == "send") {
			t.Errorf("%v, interrupted: %s", args, out)
		}
	}
	quiet := alice.start("send", "bob", "x", "--json", "--broker", url)
	loud := alice.terminal("send", "bob", "x", "--broker", url)
	loud.awaits("connecting to the broker")
	quiet.stop()
	if out := quiet.errs.String(); strings.Contains(out, "connecting") {
		t.Errorf("with --json: %s", out)
	}
}

// TestSendWhileTheBrokerRefuses checks that the command reports a temporary refusal.
func TestSendWhileTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	s := startServer(t, "SEND_RATE_PER_MIN=1", "SEND_BURST=1")
	alice, bob := newPatient(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	alice.must("send", "bob", "the only one of this minute")
	waiting := alice.terminal("send", "bob", "one too many")
	waiting.awaits("the broker has not accepted the message yet")
	waiting.awaits("rate_limit")
	waiting.awaits("with --no-wait the daemon")
	waiting.types("\x03")
	waiting.ends(130)
	// On a busy machine Ctrl-C may come while the broker has yet to answer another attempt.
	if out := waiting.screen(); !strings.Contains(out, "nothing was sent") && !strings.Contains(out, "may or may not have been sent") {
		t.Errorf("interrupted: %s", out)
	}
	if out := bob.must("inbox"); strings.Count(out, "\n") != 1 {
		t.Errorf("bob's inbox: %s", out)
	}
	alice.must("daemon", "up")
	alice.awaitConnection(true)
	await.Until(t, "the broker refuses what the daemon sends", func() bool { // it accepts one message a minute
		out := alice.must("send", "bob", "for later", "--no-wait")
		return strings.Contains(out, "kept for bob on this machine; the broker has not accepted the message yet")
	})
}
