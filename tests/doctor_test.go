package tests

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
)

// patient is a person who runs doctor.
type patient struct{ *person }

// newPatient returns a patient who has joined no mesh. PATH contains only the given folders,
// so that a claude on the developer's machine doesn't matter.
func newPatient(t *testing.T, s *server, path ...string) *patient {
	t.Helper()
	p := &patient{newPerson(t, s, "PATH="+strings.Join(path, ":"), "GORACE=atexit_sleep_ms=0")}
	t.Cleanup(func() {
		if p.daemonPID() != 0 {
			p.must("daemon", "down")
		}
	})
	return p
}

// daemonPID returns the process id of the patient's daemon, 0 if none runs.
func (p *patient) daemonPID() int {
	p.t.Helper()
	out, _, code := p.run("daemon", "status", "--json")
	if code != 0 {
		return 0
	}
	pid, ok := parse(p.t, out)["pid"].(float64)
	if !ok {
		p.t.Fatalf("daemon status: %s", out)
	}
	return int(pid)
}

// diagnose runs doctor and returns the worst finding of each check. On a busy machine the
// database may be slow to answer, which these tests don't check: then it runs doctor again.
func (p *patient) diagnose(args ...string) (found map[string]frame, code int) {
	p.t.Helper()
	await.Until(p.t, "the database answers in time", func() bool {
		found, code = p.diagnoseOnce(args...)
		return !strings.Contains(found["storage"].str("detail"), "does not answer in time")
	})
	return found, code
}

func (p *patient) diagnoseOnce(args ...string) (map[string]frame, int) {
	p.t.Helper()
	out, errOut, code := p.run(append([]string{"doctor", "--json"}, args...)...)
	var rows []frame
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		p.t.Fatalf("doctor: %v\n%s%s", err, out, errOut)
	}
	found := make(map[string]frame)
	for _, r := range rows {
		if known := found[r.str("check")]; known == nil || known["ok"] == true {
			found[r.str("check")] = r
		}
	}
	return found, code
}

// sick checks that doctor reports the problem.
func (p *patient) sick(what, check, says string, args ...string) {
	p.t.Helper()
	found, code := p.diagnose(args...)
	if code != 1 || found[check]["ok"] != false || !strings.Contains(found[check].str("detail"), says) {
		p.t.Errorf("%s: exit code %d, %v", what, code, found)
	}
}

// healthy checks that doctor ran these checks and found no problem.
func (p *patient) healthy(checks ...string) {
	p.t.Helper()
	found, code := p.diagnose()
	for _, check := range checks {
		if code != 0 || found[check]["ok"] != true || found[check]["skipped"] != nil {
			p.t.Errorf("healthy: exit code %d, %s: %v", code, check, found)
		}
	}
}

// ways are the checks that need a broker.
var ways = []string{"mesh", "broker", "storage", "clock", "membership", "round trip", "daemon", "delivery"}

func TestDoctor(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice := newPatient(t, s)
	alice.sick("no mesh", "mesh", "not joined a mesh")
	if found, _ := alice.diagnose(); found["claude"]["ok"] != true || found["claude"]["skipped"] != true || found["delivery"]["skipped"] != true {
		t.Errorf("no mesh, no claude: %v", found)
	}
	alice.must("create", "team")
	alice.healthy(append(ways, "files")...)
	if pid := alice.daemonPID(); pid != 0 {
		t.Errorf("doctor has left a daemon behind: %d", pid)
	}
	alice.sick("broker unreachable", "broker", "broker unreachable", "--broker", "ws://127.0.0.1:1/ws")
	if found, code := alice.diagnose("--broker", s.WSURL()); code != 0 || found["delivery"]["skipped"] != true {
		t.Errorf("another broker than the daemon's: exit code %d, %v", code, found)
	}
	if err := os.Chmod(filepath.Join(alice.dir, "config.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	alice.sick("config readable by others", "files", "open to other users")
	if _, code := alice.diagnose(); code != 0 {
		t.Error("the mode was not repaired")
	}
	if out, _, _ := alice.run("doctor"); !strings.Contains(out, "✓ delivery ") || !strings.Contains(out, "- claude ") {
		t.Errorf("doctor prints %s", out)
	}

	bob := newPatient(t, s)
	bob.must("join", alice.invite(), "--name", "bob")
	alice.must("remove", "bob", "-y")
	bob.sick("removed", "membership", "removed from")
	stranger := newPatient(t, s)
	other := startServer(t)
	stranger.env = append(stranger.env, "CLAUDEMESH_BROKER_URL="+other.WSURL())
	stranger.must("create", "elsewhere")
	stranger.sick("not a member", "membership", "does not know this key", "--broker", s.WSURL())

	skewed := startSkewedClock(t, s, 2*time.Minute)
	alice.sick("clock", "clock", "behind the broker's", "--broker", skewed)
	stopped := startServer(t)
	dave := newPatient(t, stopped)
	dave.must("create", "team")
	stopped.Stop()
	dave.sick("broker gone", "broker", "broker unreachable")
}

// TestDoctorLeavesNoTrace checks that waiting messages stay unread and unannounced, that a
// running daemon keeps running, and that nothing remains of doctor's own session.
func TestDoctorLeavesNoTrace(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob := newPatient(t, s), newPatient(t, s)
	alice.must("create", "team")
	bob.must("join", alice.invite(), "--name", "bob")
	unread := func(want ...string) {
		t.Helper()
		store, err := inbox.Open(t.Context(), peer.Dir(bob.dir))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		mesh := bob.config().str("meshId")
		waiting, err := store.Unread(t.Context(), inbox.Filter{Meshes: []string{mesh}, MemberMail: true})
		if err != nil {
			t.Fatal(err)
		}
		list, err := store.List(t.Context(), mesh, inbox.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, m := range list {
			texts = append(texts, m.Body)
		}
		if !slices.Equal(texts, want) || len(waiting) != len(want) {
			t.Errorf("unread are %q, want %q (%d)", texts, want, len(waiting))
		}
		for _, m := range waiting {
			if m.Announced {
				t.Errorf("a session was told of %+v", m)
			}
		}
	}
	keys := func() (names []string) {
		_ = filepath.WalkDir(filepath.Join(bob.dir, "sessions"), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				names = append(names, path)
			}
			return nil
		})
		return names
	}

	alice.must("send", "bob", "before any daemon")
	bob.healthy(ways...)
	unread("before any daemon")
	if pid := bob.daemonPID(); pid != 0 {
		t.Errorf("doctor has left a daemon behind: %d", pid)
	}

	bob.must("daemon", "up")
	pid := bob.daemonPID()
	alice.must("send", "bob", "while it runs")
	await.Until(t, "the daemon has the message", func() bool {
		meshes := parse(t, bob.must("daemon", "status", "--json")).list("meshes")
		return meshes[0]["unread"] == float64(2)
	})
	bob.healthy(ways...)
	unread("before any daemon", "while it runs")
	if now := bob.daemonPID(); pid == 0 || now != pid {
		t.Errorf("the daemon was %d and is %d", pid, now)
	}
	if left := keys(); len(left) > 0 {
		t.Errorf("keys were left: %v", left)
	}
	if sessions := parse(t, bob.must("daemon", "status", "--json")).list("sessions"); len(sessions) > 0 {
		t.Errorf("sessions were left: %v", sessions)
	}
	for _, row := range alice.list("peers", "--json") {
		if row["displayName"] == "doctor" {
			t.Errorf("peers still see %v", row)
		}
	}
}

// TestDoctorFindsDaemon checks that doctor reports a broken daemon and doesn't touch it.
func TestDoctorFindsDaemon(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice := newPatient(t, s)
	alice.must("create", "team")
	old := filepath.Join(filepath.Dir(alice.dir), "claudemesh")
	if out, err := exec.Command("cp", commands.Claudemesh, old).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	lastYear := time.Now().AddDate(-1, 0, 0)
	if err := os.Chtimes(old, lastYear, lastYear); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(old, "daemon", "up")
	cmd.Env = alice.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	pid := alice.daemonPID()
	alice.sick("older", "daemon", "older claudemesh")
	if now := alice.daemonPID(); now != pid {
		t.Errorf("the daemon was %d and is %d", pid, now)
	}
	alice.must("daemon", "up")
	alice.healthy("daemon", "delivery")

	// The daemon moves a file aside that is in the place of its tickets.
	alice.must("daemon", "down")
	run := filepath.Join(alice.dir, "run")
	if err := os.RemoveAll(run); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(run, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	alice.healthy("delivery")

	alice.must("daemon", "up")
	pid = alice.daemonPID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	alice.sick("hangs", "daemon", "does not answer")
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// A killed daemon leaves its socket and its announcement.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "the daemon is gone", func() bool { return alice.daemonPID() == 0 })
	alice.healthy("daemon", "delivery")
	if now := alice.daemonPID(); now != 0 {
		t.Errorf("doctor has left a daemon behind: %d", now)
	}
}

// TestDoctorFindsClaude checks that doctor finds what prevents Claude Code from using
// claudemesh.
func TestDoctorFindsClaude(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice := newPatient(t, s, filepath.Dir(commands.StandIn), "/usr/bin", "/bin")
	alice.must("create", "team")
	alice.healthy("claude", "plugin", "hooks", "delivery")
	home := filepath.Dir(alice.dir)
	config := filepath.Join(home, ".claude")
	settings := filepath.Join(config, "settings.json")
	for _, test := range []struct{ name, file, text, check, says string }{
		{"hooks off", settings, `{"disableAllHooks":true}`, "hooks", "disableAllHooks"},
		{"plugin turned off", settings, `{"enabledPlugins":{"claudemesh@claudemesh-local":false}}`, "hooks", "turned off"},
		{"plugin from elsewhere", settings, `{"enabledPlugins":{"claudemesh@claudemesh-local":true},
			"extraKnownMarketplaces":{"claudemesh-local":{"source":{"source":"directory","path":"/gone"}}}}`, "plugin", "isn't loaded from"},
		{"hooks of another client", settings, `{"hooks":{"Stop":[{"hooks":[{"type":"command","command":"claudemesh-cli hook idle"}]}]}}`, "hooks", "another mesh client"},
		{"server of another client", filepath.Join(home, ".claude.json"), `{"mcpServers":{"claudemesh":{"command":"x"}}}`, "hooks", "claude mcp remove"},
		{"settings that nobody can read", settings, `{"model":`, "hooks", "repair"},
	} {
		alice.write(test.file, test.text)
		alice.sick(test.name, test.check, test.says)
		if err := os.Remove(test.file); err != nil {
			t.Fatal(err)
		}
	}

	alice.must("install")
	alice.healthy("claude", "plugin", "hooks", "delivery")
	alice.write(filepath.Join(alice.dir, "plugin", "claudemesh", ".mcp.json"), "{}")
	alice.sick("plugin of another version", "plugin", "claudemesh install")
	alice.must("install")
	alice.write(filepath.Join(config, "plugins", "installed_plugins.json"), `{"version":2,"plugins":{}}`)
	alice.sick("plugin that Claude Code has forgotten", "plugin", "isn't loaded")
	alice.must("install")
	alice.healthy("claude", "plugin", "hooks", "delivery")
	alice.must("uninstall")

	alice.env = append(alice.env, "CLAUDEMESH_CLAUDE=/nowhere/claude")
	alice.sick("claude that is not there", "claude", "CLAUDEMESH_CLAUDE")
}

// TestDoctorFindsKeys checks what doctor reports about files with session keys.
func TestDoctorFindsKeys(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice := newPatient(t, s)
	alice.must("create", "team")
	folder := filepath.Join(alice.dir, "sessions", "team")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	alice.sick("folder", "files", folder+" was open to other users")
	torn := filepath.Join(folder, "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa.json")
	if err := os.WriteFile(torn, []byte("torn"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(torn, 0o644); err != nil {
		t.Fatal(err)
	}
	alice.sick("key", "files", torn+" was open to other users")
	for _, path := range []string{folder, torn} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, mode %s", path, err, strconv.FormatUint(uint64(info.Mode().Perm()), 8))
		}
	}
	alice.sick("damaged key", "files", "damaged")
}

// startSkewedClock starts a proxy through which the broker's clock seems to be ahead. It
// returns the URL of the WebSocket.
func startSkewedClock(t *testing.T, s *server, ahead time.Duration) string {
	t.Helper()
	proxy := proxyOf(t, s)
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		return nil
	}
	return serveProxy(t, proxy)
}
