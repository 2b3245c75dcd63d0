package tests

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
)

// TestSendByTheDaemon tests send --no-wait and --wait read with running daemons.
func TestSendByTheDaemon(t *testing.T) {
	scenariosOnBoth(t, nil, []scenario{
		{"without a daemon", sendWithoutADaemon},
		{"until it is read", sendUntilRead},
	})
}

// TestSendWhileAway has its own brokers, which it stops.
func TestSendWhileAway(t *testing.T) {
	onBoth(t, nil, sendWhileAway)
}

func sendWithoutADaemon(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	for _, how := range [][]string{{"--no-wait"}, {"--wait", "read"}} {
		alice.fails(1, "daemon up", append([]string{"send", "bob", "x"}, how...)...)
		alice.fails(1, "nothing was sent", append([]string{"send", "bob", "x", "--json"}, how...)...)
		alice.fails(2, "--broker can't be combined", append([]string{"send", "bob", "x", "--broker", s.WSURL()}, how...)...)
	}
	for _, group := range []string{"@all", "*", "@dev"} {
		alice.fails(2, "--wait read works for one recipient", "send", group, "x", "--wait", "read")
	}
	alice.fails(2, "not both", "send", "bob", "x", "--wait", "read", "--no-wait")
	alice.fails(2, "not both", "send", "bob", "x", "--wait", "delivered", "--no-wait")
	alice.fails(2, `delivered or read, not "sent"`, "send", "bob", "x", "--wait", "sent")
	if out := bob.must("inbox"); out != "" {
		t.Errorf("bob's inbox: %s", out)
	}
}

// sendWhileAway checks that a message in the daemon's outbox survives a restart of the
// broker and of the daemon, that it arrives once and from the member, and that status shows
// where it is.
func sendWhileAway(t *testing.T, s *server) {
	alice, bob := newPatient(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	bob.must("send", "alice", "a question")
	asked, _, _ := strings.Cut(alice.must("inbox", "--json"), "\n")
	asked = parse(t, asked).str("messageId")
	alice.must("daemon", "up")
	alice.awaitConnection(true)
	// While the broker runs, the daemon sends the message at once or a moment later.
	first := parse(t, alice.must("send", "bob", "before", "--no-wait", "--json"))
	alice.awaitStatus(first.str("clientMessageId"), "queued")
	alice.fails(1, `no member or session in this mesh is called "nobody"`, "send", "nobody", "x", "--no-wait")
	alice.fails(1, "nothing was sent", "send", "nobody", "x", "--no-wait")

	s.Stop()
	alice.awaitConnection(false)
	out := alice.must("send", "bob", "while", "it", "is", "away", "--no-wait")
	short, text, _ := strings.Cut(out, "  ")
	if !strings.HasPrefix(text, "kept for bob on this machine; the broker is unreachable") {
		t.Errorf("send --no-wait: %s", out)
	}
	if out := alice.must("status", short); !strings.Contains(out, "bob") || !strings.Contains(out, "waiting on this machine for the broker") {
		t.Errorf("status: %s", out)
	}
	if status := parse(t, alice.must("status", short, "--json")); status.str("state") != "waiting" || status.str("messageId") != "" || !strings.HasSuffix(status.str("clientMessageId"), short) {
		t.Errorf("status: %s", status)
	}
	waiting := alice.terminal("send", "bob", "read this", "--wait", "read", "--timeout", "1d")
	waiting.awaits("waiting until it is read")
	waiting.types("\x03")
	waiting.ends(130)
	if out := waiting.screen(); !strings.Contains(out, "the daemon has the message") || !strings.Contains(out, "claudemesh status ") {
		t.Errorf("interrupted: %s", out)
	}
	if _, errOut, code := alice.run("send", "bob", "unread", "--wait", "read", "--timeout", "1s"); code != 3 || !strings.Contains(errOut, "not read within 1s") {
		t.Errorf("--wait read: %d %s", code, errOut)
	}
	if err := syscall.Kill(alice.daemonPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the daemon has ended", func() bool { return alice.daemonPID() == 0 })
	alice.must("daemon", "up")
	// The daemon doesn't know the members of the mesh yet, but it needs no name for a key.
	alice.fails(1, "a whole key works", "send", "bob", "x", "--no-wait")
	alice.fails(1, "nothing was sent", "send", "bob", "x", "--no-wait")
	if out := alice.must("reply", asked, "an answer", "--no-wait"); !strings.Contains(out, "on this machine") {
		t.Errorf("reply --no-wait: %s", out)
	}
	s.Start()
	alice.awaitStatus(short, "queued")
	if out := alice.must("status", short); !strings.Contains(out, "bob") || strings.Contains(out, "on this machine") {
		t.Errorf("status: %s", out)
	}
	var all string
	await.Until(t, "all messages have come", func() bool {
		all = bob.must("inbox", "--all")
		return strings.Contains(all, "an answer")
	})
	lines := strings.Split(strings.TrimSpace(all), "\n")
	for i, want := range []string{"before", "while it is away", "read this", "unread", "an answer"} {
		if len(lines) != 5 || !strings.HasSuffix(lines[i], ": "+want) || !strings.Contains(lines[i], "alice") {
			t.Fatalf("message %d is not %q from alice:\n%s", i, want, all)
		}
	}
	if out := alice.must("status", short); !strings.Contains(out, "delivered") {
		t.Errorf("status: %s", out)
	}
}

// sendUntilRead checks that "read" needs a signed receipt of the recipient's session.
func sendUntilRead(t *testing.T, s *server) {
	alice, bob := newPatient(t, s), newPatient(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	alice.must("daemon", "up")
	bob.must("daemon", "up")
	alice.awaitConnection(true)
	bob.awaitConnection(true)
	session := bob.session("bobs-session")
	for _, to := range []string{"bob", session.key} {
		text := "read this, " + to
		waiting := alice.terminal("send", to, text, "--wait", "read", "--timeout", "1d")
		waiting.awaits("waiting until it is read")
		await.Until(t, "the session reads", func() bool { return session.reads(text) })
		waiting.ends(0)
		screen := waiting.screen()
		if !strings.Contains(screen, "read by ") {
			t.Errorf("sent to %s: %s", to, screen)
		}
	}
	sent := alice.start("send", session.key, "a third", "--wait", "read", "--timeout", "1d", "--json")
	await.Until(t, "the session reads", func() bool { return session.reads("a third") })
	printed := ""
	for line := ""; line != "}"; printed += line {
		line = sent.line()
	}
	out := parse(t, printed)
	receipts := out.list("receipts")
	if out.str("state") != "in_context" || len(receipts) != 1 || receipts[0].str("key") != session.key || receipts[0]["signed"] != true {
		t.Errorf("send --json: %s", out)
	}
	if table := alice.must("status", out.str("messageId")); !strings.Contains(table, "read ") {
		t.Errorf("status: %s", table)
	}
	if status := parse(t, alice.must("status", out.str("clientMessageId"), "--json")); status.str("state") != "in_context" || len(status.list("receipts")) != 1 || status["delivered"] != true {
		t.Errorf("status: %s", status)
	}
	// A message that has only arrived doesn't count as read.
	_, errOut, code := alice.run("send", session.key, "unread", "--wait", "read", "--timeout", "1s")
	if code != 3 || !strings.Contains(errOut, "not read within 1s") {
		t.Errorf("unread: %d %s", code, errOut)
	}
	short := out.str("clientMessageId")[28:]
	bob.fails(1, "not found", "status", short)
	alice.must("daemon", "down")
	alice.fails(1, "daemon up", "status", short)
}

// awaitConnection waits until the daemon is connected to the broker or disconnected.
func (p *patient) awaitConnection(connected bool) {
	p.t.Helper()
	await.Until(p.t, fmt.Sprintf("the daemon is connected: %t", connected), func() bool {
		return parse(p.t, p.must("daemon", "status", "--json")).list("meshes")[0]["connected"] == connected
	})
}

func (p *patient) awaitStatus(id, state string) {
	p.t.Helper()
	await.Until(p.t, "message "+id+" is "+state, func() bool {
		return parse(p.t, p.must("status", id, "--json")).str("state") == state
	})
}

// registered is a session without a program: the test acts for it.
type registered struct {
	p       *patient
	pid     int
	id, key string
}

// session registers a session with the daemon, like the hooks do.
func (p *patient) session(name string) *registered {
	p.t.Helper()
	program := exec.Command("sleep", "1d")
	if err := program.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait()
	})
	r := &registered{p: p, pid: program.Process.Pid, id: uuid.NewString()}
	r.owner(local.VerbRegister, local.Register{PID: r.pid, SessionID: r.id, Source: local.SourceStartup, Cwd: "/", Name: name})
	await.Until(p.t, "the session is connected", func() bool {
		for _, s := range parse(p.t, p.must("daemon", "status", "--json")).list("sessions") {
			for _, m := range s.list("meshes") {
				if m["connected"] == true {
					r.key = m.str("key")
				}
			}
		}
		return r.key != ""
	})
	return r
}

// reads fetches the unread messages and marks them as in context. It reports whether the
// text was among them.
func (r *registered) reads(text string) bool {
	r.p.t.Helper()
	client, err := local.Session(peer.Dir(r.p.dir), r.pid)
	if err != nil {
		r.p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.p.t.Context(), await.Patience)
	defer cancel()
	var checked local.Checked
	call := uuid.NewString()
	if err := client.Call(ctx, local.VerbCheck, local.Check{ToolUseID: call}, &checked); err != nil {
		r.p.t.Fatal(err)
	}
	r.owner(local.VerbActivity, local.Activity{PID: r.pid, SessionID: r.id, Ended: []string{call}})
	found := false
	for _, m := range checked.Messages {
		found = found || m.Text == text
	}
	return found
}

func (r *registered) owner(verb string, in any) {
	r.p.t.Helper()
	client, err := local.Owner(peer.Dir(r.p.dir))
	if err != nil {
		r.p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(r.p.t.Context(), await.Patience)
	defer cancel()
	if err := client.Call(ctx, verb, in, nil); err != nil {
		r.p.t.Fatalf("%s: %v", verb, err)
	}
}
