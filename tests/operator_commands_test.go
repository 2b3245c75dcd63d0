package tests

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
)

// ask runs a command for operators with the config of a broker.
func ask(s *server, args ...string) (out string, code int) {
	return s.RunCaddy(append(append([]string{"claudemesh"}, args...), "--config", s.Config, "--adapter", "caddyfile")...)
}

// askRows returns what a command prints as JSON.
func askRows(t *testing.T, s *server, args ...string) []frame {
	t.Helper()
	out, code := ask(s, append(args, "--json")...)
	return jsonRows(t, out, code)
}

// startWithBob starts a broker with a mesh of two members: alice, who owns it, and bob, who has a session.
func startWithBob(t *testing.T) (s *server, alice *person) {
	t.Helper()
	s = startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	bob.begin("startup")
	await.Until(t, "bob's session is connected", func() bool {
		for _, row := range askRows(t, s, "sessions", "team") {
			if row.str("role") == "session" && row.str("name") != "" && row["online"] == true {
				return true
			}
		}
		return false
	})
	return s, alice
}

// TestOperatorCommands asks a broker through Caddy's admin endpoint, with a mesh's slug or its id, in tables and
// in JSON. A broker that has stopped does not answer.
func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	s, alice := startWithBob(t)
	id := askRows(t, s, "meshes")[0].str("id")
	if len(askRows(t, s, "members", "team")) != 2 || len(askRows(t, s, "members", id)) != 2 {
		t.Errorf("members: %v", askRows(t, s, "members", "team"))
	}
	alice.must("send", "bob", "to a member")
	var status []frame
	await.Until(t, "the storage answers in time", func() bool {
		status = askRows(t, s, "status")
		return len(status) == 1 && status[0]["ready"] == true
	})
	if status[0]["presences"].(float64) < 1 {
		t.Errorf("status: %v", status)
	}
	await.Until(t, "the broker is healthy", func() bool {
		out, code := ask(s, "health", "--json")
		return code == 0 && strings.Contains(out, `"ready":true`)
	})
	if q := askRows(t, s, "queue", "team"); len(q) != 1 || q[0].str("mesh") != id || q[0].str("slug") != "team" {
		t.Errorf("queue: %v", q)
	}
	await.Until(t, "the audit log has entries", func() bool {
		heads := askRows(t, s, "audit", "heads")
		return len(heads) == 1 && heads[0].str("mesh") == id && heads[0].str("slug") == "team" && len(heads[0].str("hash")) == 64
	})
	one := askRows(t, s, "mesh", "team")
	if len(one) != 1 || one[0].str("id") != id || one[0]["members"] != float64(2) || len(one[0].str("audit_hash")) != 64 {
		t.Errorf("mesh: %v", one)
	}
	if out, code := ask(s, "mesh", id); code != 0 || !strings.Contains(out, "AUDIT HASH") {
		t.Errorf("mesh: exit %d\n%s", code, out)
	}
	for command, want := range map[string][]string{
		"status": {"STORAGE", "READY", "SQLite database "}, "meshes": {"SLUG", "team", id}, "members team": {"NAME", "alice", "owner", "bob"},
		"queue team": {"SLUG", "OLDEST", "team"}, "audit heads": {"SLUG", "HASH", "team"}, "health": {"STORAGE", "READY"},
		"sessions team": {"NAME", "LAST SEEN AT", "session"},
	} {
		out, code := ask(s, strings.Fields(command)...)
		for _, text := range want {
			if code != 0 || !strings.Contains(out, text) {
				t.Errorf("%s: exit %d, without %q\n%s", command, code, text, out)
			}
		}
	}
	for _, unknown := range []string{"nothing", strings.Repeat("0", 32)} {
		if out, code := ask(s, "sessions", unknown); code == 0 || !strings.Contains(out, "there is no mesh with this id") {
			t.Errorf("mesh %s: exit %d\n%s", unknown, code, out)
		}
	}
	s.Stop()
	if out, code := ask(s, "status"); code == 0 || !strings.Contains(out, "ask the broker at") {
		t.Errorf("status of a stopped broker: exit %d\n%s", code, out)
	}
	if out, code := ask(s, "health"); code == 0 || !strings.Contains(out, "ask the broker at") {
		t.Errorf("health of a stopped broker: exit %d\n%s", code, out)
	}
}

// TestKickAndRemove checks that operators can end a session, and remove a member who does not own the mesh,
// and that the audit log says so.
func TestKickAndRemove(t *testing.T) {
	t.Parallel()
	s, alice := startWithBob(t)
	if out, code := ask(s, "kick", "team", "nobody"); code == 0 || !strings.Contains(out, "no session in mesh team") {
		t.Errorf("kick nobody: exit %d\n%s", code, out)
	}
	if kicked := askRows(t, s, "kick", "team", "bob", "--reason", "lunch"); len(kicked) != 1 {
		t.Errorf("kicked: %v", kicked)
	}
	// The session may be back by now: a kick ends a connection but doesn't ban the session.
	await.Until(t, "the audit log has the kick", func() bool {
		for _, row := range alice.list("audit", "--json") {
			if row.str("kind") == "peer_kicked" {
				return true
			}
		}
		return false
	})
	if out, code := ask(s, "remove", "team", "bob"); code == 0 || !strings.Contains(out, "Remove bob") || !strings.Contains(out, "nobody was removed") {
		t.Errorf("remove without an answer: exit %d\n%s", code, out)
	}
	for other, says := range map[string]string{"alice": "the owner can't be removed", "nobody": "no such member"} {
		if out, code := ask(s, "remove", "team", other, "--yes"); code == 0 || !strings.Contains(out, says) {
			t.Errorf("remove %s: exit %d, without %q\n%s", other, code, says, out)
		}
	}
	if removed := askRows(t, s, "remove", "team", "bob", "--yes"); len(removed) != 1 || removed[0].str("state") != "removed" {
		t.Errorf("removed: %v", removed)
	}
	for _, row := range askRows(t, s, "sessions", "team") {
		if row.str("member") == askRows(t, s, "members", "team")[1].str("key") {
			t.Errorf("a session of the removed member is there: %v", row)
		}
	}
	await.Until(t, "the audit log has the removal, as done by the broker", func() bool {
		for _, row := range alice.list("audit", "--json") {
			if row.str("kind") == "member_removed" && row.str("actor") == "broker" {
				return true
			}
		}
		return false
	})
}

// TestInterruptedQuestion interrupts commands whose question the admin endpoint doesn't answer.
func TestInterruptedQuestion(t *testing.T) {
	t.Parallel()
	asked, end := make(chan struct{}), make(chan struct{})
	admin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-end
	}))
	defer admin.Close()
	defer close(end)
	for _, args := range [][]string{{"status"}, {"status", "--watch"}} {
		cmd := exec.Command(commands.Caddy, append(append([]string{"claudemesh"}, args...), "--address", admin.Listener.Addr().String())...)
		cmd.Env = homeEnv(t.TempDir())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // the exit status doesn't matter
		}()
		select {
		case <-asked:
		case <-ended:
			t.Fatalf("%v asks nothing", args)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(await.Patience):
			_ = cmd.Process.Kill()
			t.Errorf("Ctrl-C does not end %v", args)
			<-ended
		}
	}
}
