package tests

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestExampleBot sends a question to the absent bot of examples/bot, twice. The bot must answer when
// it starts, and exit cleanly.
func TestExampleBot(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bot := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bot.must("join", alice.invite(), "--name", "bot")
	program := filepath.Join(t.TempDir(), "bot")
	build := exec.Command("go", "build", "-o", program, "./examples/bot")
	build.Dir = commands.Repo
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	inbox := alice.start("inbox", "--follow")

	for range 2 {
		alice.must("send", "bot", "who") // the message waits for the bot
		cmd := exec.Command(program)
		cmd.Env, cmd.Dir = bot.env, bot.dir
		running := startProcess(t, cmd)
		for !strings.Contains(inbox.line(), `"bot" is idle`) {
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		<-running.done
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the bot ended with %d\n%s", code, running.errs.String())
		}
	}
}

// TestExampleClient sends a message with the client of examples/client, which must print the answer.
// It needs a node with WebSockets.
func TestExampleClient(t *testing.T) {
	t.Parallel()
	can := exec.Command("node", "--experimental-websocket", "-e", `process.exit(typeof WebSocket === "function" ? 0 : 1)`)
	if out, err := can.CombinedOutput(); err != nil {
		t.Skipf("this test needs node 20.10 or newer, which has WebSockets: %v %s", err, out)
	}
	s := startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	inbox := alice.start("inbox", "--follow")
	await.Until(t, "alice is connected", func() bool { return len(bob.list("peers", "--json")) == 1 })

	cmd := exec.Command("node", "--experimental-websocket", "--no-warnings",
		filepath.Join(commands.Repo, "examples", "client", "mesh.mjs"), "alice", "is the build green?")
	cmd.Env, cmd.Dir = bob.env, bob.dir
	client := startProcess(t, cmd)
	if got := inbox.line(); !strings.HasSuffix(got, "bob: is the build green?") {
		t.Errorf("alice's terminal shows %q", got)
	}
	if got := client.line(); !strings.HasPrefix(got, "safe with the broker: ") {
		t.Errorf("the client says %q", got)
	}
	alice.must("send", "bob", "yes, since 9:15", "--wait", "delivered")
	if got := client.line(); got != "alice: yes, since 9:15" {
		t.Errorf("the client says %q", got)
	}
	<-client.done
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the client ended with %d\n%s", code, client.errs.String())
	}
}
