package tests

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestOperatorCommands asks a running broker, and ends a session, through Caddy's admin
// endpoint.
func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	bob.begin("startup")
	ask := func(args ...string) (string, int) {
		return s.RunCaddy(append([]string{"claudemesh"}, append(args, "--config", s.Config, "--adapter", "caddyfile")...)...)
	}
	rows := func(args ...string) (list []frame) {
		t.Helper()
		out, code := ask(append(args, "--json")...)
		// Caddy logs to the same place.
		out = out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
		if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 {
			t.Fatalf("%v: exit %d, %v\n%s", args, code, err, out)
		}
		return list
	}
	await.Until(t, "bob's session is connected", func() bool {
		for _, row := range rows("sessions", "team") {
			if row.str("role") == "session" && row.str("name") != "" && row["online"] == true {
				return true
			}
		}
		return false
	})
	id := rows("meshes")[0].str("id")
	if len(rows("members", "team")) != 2 || len(rows("members", id)) != 2 {
		t.Errorf("members: %v", rows("members", "team"))
	}
	alice.must("send", "bob", "to a member")
	var status []frame
	await.Until(t, "the storage answers in time", func() bool {
		status = rows("status")
		return len(status) == 1 && status[0]["ready"] == true
	})
	if status[0]["presences"].(float64) < 1 {
		t.Errorf("status: %v", status)
	}
	await.Until(t, "the broker is healthy", func() bool {
		out, code := ask("health", "--json")
		return code == 0 && strings.Contains(out, `"ready":true`)
	})
	if q := rows("queue", "team"); len(q) != 1 || q[0].str("mesh") != id || q[0].str("slug") != "team" {
		t.Errorf("queue: %v", q)
	}
	await.Until(t, "the audit log has entries", func() bool {
		heads := rows("audit", "heads")
		return len(heads) == 1 && heads[0].str("mesh") == id && heads[0].str("slug") == "team" && len(heads[0].str("hash")) == 64
	})
	one := rows("mesh", "team")
	if len(one) != 1 || one[0].str("id") != id || one[0]["members"] != float64(2) || len(one[0].str("audit_hash")) != 64 {
		t.Errorf("mesh: %v", one)
	}
	if out, code := ask("mesh", id); code != 0 || !strings.Contains(out, "AUDIT HASH") {
		t.Errorf("mesh: exit %d\n%s", code, out)
	}
	for command, want := range map[string][]string{
		"status": {"STORAGE", "READY", "SQLite database "}, "meshes": {"SLUG", "team", id}, "members team": {"NAME", "alice", "owner", "bob"},
		"queue team": {"SLUG", "OLDEST", "team"}, "audit heads": {"SLUG", "HASH", "team"}, "health": {"STORAGE", "READY"},
	} {
		out, code := ask(strings.Fields(command)...)
		for _, text := range want {
			if code != 0 || !strings.Contains(out, text) {
				t.Errorf("%s: exit %d, without %q\n%s", command, code, text, out)
			}
		}
	}
	out, code := ask("sessions", "team")
	if code != 0 || !strings.Contains(out, "NAME") || !strings.Contains(out, "LAST SEEN AT") || !strings.Contains(out, "session") {
		t.Errorf("table: exit %d\n%s", code, out)
	}
	for _, unknown := range []string{"nothing", strings.Repeat("0", 32)} {
		if out, code := ask("sessions", unknown); code == 0 || !strings.Contains(out, "there is no mesh with this id") {
			t.Errorf("mesh %s: exit %d\n%s", unknown, code, out)
		}
	}
	if out, code := ask("kick", "team", "nobody"); code == 0 || !strings.Contains(out, "no session in mesh team") {
		t.Errorf("kick nobody: exit %d\n%s", code, out)
	}
	if kicked := rows("kick", "team", "bob", "--reason", "lunch"); len(kicked) != 1 {
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
	if out, code := ask("remove", "team", "bob"); code == 0 || !strings.Contains(out, "Remove bob") || !strings.Contains(out, "nobody was removed") {
		t.Errorf("remove without an answer: exit %d\n%s", code, out)
	}
	for _, other := range []string{"alice", "nobody"} {
		if out, code := ask("remove", "team", other, "--yes"); code == 0 || strings.Contains(out, "503") {
			t.Errorf("remove %s: exit %d\n%s", other, code, out)
		}
	}
	if removed := rows("remove", "team", "bob", "--yes"); len(removed) != 1 || removed[0].str("state") != "removed" {
		t.Errorf("removed: %v", removed)
	}
	for _, row := range rows("sessions", "team") {
		if row.str("member") == rows("members", "team")[1].str("key") {
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
	s.Stop()
	if out, code := ask("status"); code == 0 || !strings.Contains(out, "ask the broker at") {
		t.Errorf("status of a stopped broker: exit %d\n%s", code, out)
	}
	if out, code := ask("health"); code == 0 || !strings.Contains(out, "ask the broker at") {
		t.Errorf("health of a stopped broker: exit %d\n%s", code, out)
	}
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
