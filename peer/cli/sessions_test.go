package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	sessionA = "aaaaaaaa-0000-4000-8000-000000000001"
	sessionB = "aaaaaaaa-0000-4000-8000-000000000002"
	sessionC = "cccccccc-0000-4000-8000-000000000003"
)

// newSessions stores keys of sessionA in two meshes, used just now and 40 days ago, a key of
// sessionB, used 3 days ago, and a damaged file of sessionC, 50 days old.
func newSessions(t *testing.T) (peer.Dir, identity.SessionStore) {
	t.Helper()
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	dir := peer.Dir(t.TempDir())
	store := identity.OpenSessionStore(peer.SessionsRoot(dir))
	for _, s := range []struct {
		slug, id string
		days     int
	}{{"team", sessionA, 0}, {"side", sessionA, 40}, {"team", sessionB, 3}, {"team", sessionC, 50}} {
		if k, err := store.Key(s.slug, s.id); err != nil || k.Unsaved != nil {
			t.Fatal(err, k.Unsaved)
		}
		if s.id == sessionC {
			if err := os.WriteFile(filepath.Join(peer.SessionsRoot(dir), s.slug, s.id+".json"), []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Touch(s.slug, s.id, time.Now().AddDate(0, 0, -s.days)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, store
}

// serveStatus starts a daemon that answers with a status, or refuses with a code.
func serveStatus(t *testing.T, dir peer.Dir, status *local.Status) {
	t.Helper()
	info := local.Info{PID: os.Getpid(), Socket: daemontest.Dir(t).Path("s"), Token: "secret"}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/status" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("asked for %s with %q", r.URL.Path, r.Header.Get("Authorization"))
		}
		if status == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := json.NewEncoder(w).Encode(status); err != nil {
			t.Error(err)
		}
	}))
	server.Listener.Close()
	listener, err := net.Listen("unix", info.Socket)
	if err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	writeInfo(t, dir, info)
}

func writeInfo(t *testing.T, dir peer.Dir, info local.Info) {
	t.Helper()
	b, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.WriteFile(local.InfoName, b); err != nil {
		t.Fatal(err)
	}
}

// runSessions runs the command in a directory.
func runSessions(t *testing.T, dir peer.Dir, mesh string, args ...string) (out, errOut string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &stdout, err: &stderr, dir: dir, mesh: mesh}
	cmd := a.sessionsCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(context.Background())
	return stdout.String(), stderr.String(), err
}

// stored lists the remaining keys as mesh/session.
func stored(t *testing.T, s identity.SessionStore) string {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range list {
		names = append(names, s.MeshSlug+"/"+s.SessionID[:1]+s.SessionID[35:])
	}
	return strings.Join(names, " ")
}

const allStored = "side/a1 team/a1 team/a2 team/c3"

func TestSessionsTable(t *testing.T) {
	dir, store := newSessions(t)
	k, err := store.Key("team", sessionA)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, mesh string
		status     *local.Status
		want, not  []string
	}{
		{"no daemon", "", nil, []string{"MESH", "team", "side", sessionA, sessionB, k.Pair.Public().Short(), "damaged", "  -"}, []string{"live", "{"}},
		{"one mesh", "side", nil, []string{"side", sessionA}, []string{"team", sessionB}},
		{"a mesh that nobody knows", "nosuch", nil, []string{"MESH"}, []string{sessionA}},
		{"a live session", "", &local.Status{Sessions: []local.SessionStatus{
			{SessionID: strings.ToUpper(sessionA), Name: "alice-1", Title: "fix\x1b[2J it"}, {SessionID: sessionB, Name: "alice-2"},
		}}, []string{`fix\u{1B}[2J it`, "alice-2", "live", "  -"}, []string{"alice-1", "\x1b"}},
	} {
		if tc.status != nil {
			serveStatus(t, dir, tc.status)
		}
		out, errOut, err := runSessions(t, dir, tc.mesh)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		for _, w := range tc.want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: %q is missing in\n%s", tc.name, w, out)
			}
		}
		for _, n := range tc.not {
			if strings.Contains(out, n) {
				t.Errorf("%s: %q is in\n%s", tc.name, n, out)
			}
		}
		if tc.mesh == "" && (strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, sessionC+".json is damaged")) {
			t.Errorf("%s: told %q", tc.name, errOut)
		}
		if strings.Contains(out+errOut, k.Pair.SecretHex()[:16]) {
			t.Errorf("%s: a secret is shown", tc.name)
		}
	}
}

func TestSessionsJSON(t *testing.T) {
	dir, _ := newSessions(t)
	serveStatus(t, dir, &local.Status{Sessions: []local.SessionStatus{{SessionID: sessionB, Title: "title"}}})
	out, _, err := runSessions(t, dir, "team", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || rows[0]["sessionId"] != sessionA || rows[0]["live"] != false || len(rows[0]["pubkey"].(string)) != 64 ||
		rows[1]["sessionId"] != sessionB || rows[1]["live"] != true || rows[1]["title"] != "title" ||
		rows[2]["problem"] == nil || rows[2]["pubkey"] != "" || rows[2]["mesh"] != "team" {
		t.Errorf("got %s", out)
	}
	if out, _, err := runSessions(t, peer.Dir(t.TempDir()), "", "--json"); err != nil || out != "[]\n" {
		t.Errorf("no sessions: %q, %v", out, err)
	}
}

func TestSessionsRemove(t *testing.T) {
	for _, tc := range []struct {
		name, mesh string
		args       []string
		status     *local.Status
		left, says string // says: on standard output, or in the error
	}{
		{"by id, in all meshes", "", []string{sessionA}, nil, "team/a2 team/c3", sessionA + " in side"},
		{"by id in another case", "", []string{strings.ToUpper(sessionB)}, nil, "side/a1 team/a1 team/c3", "Removed"},
		{"in one mesh", "side", []string{sessionA}, nil, "team/a1 team/a2 team/c3", "Removed"},
		{"by its start, a damaged one", "", []string{"CCCCcccc"}, nil, "side/a1 team/a1 team/a2", "damaged"},
		{"several, one twice", "", []string{sessionA, sessionC[:8], sessionC}, nil, "team/a2", "Removed"},
		{"start of two", "", []string{"aaaaaaaa"}, nil, allStored, "may be"},
		{"start of two, after a good one", "", []string{sessionC, "aaaaaaaa"}, nil, allStored, "may be"},
		{"too short", "", []string{"ccccccc"}, nil, allStored, "too short"},
		{"unknown", "", []string{"dddddddd"}, nil, allStored, "no key"},
		{"in another mesh", "side", []string{sessionB}, nil, allStored, "no key"},
		{"path", "", []string{"../../config"}, nil, allStored, "no key"},
		{"live", "", []string{sessionC, sessionA}, &local.Status{Sessions: []local.SessionStatus{{SessionID: sessionA}}}, allStored, "is live"},
		{"live, by force", "", []string{sessionA, "--force"}, &local.Status{Sessions: []local.SessionStatus{{SessionID: sessionA}}}, "team/a2 team/c3", "Removed"},
		{"another is live", "", []string{sessionB}, &local.Status{Sessions: []local.SessionStatus{{SessionID: sessionA}}}, "side/a1 team/a1 team/c3", "Removed"},
	} {
		dir, store := newSessions(t)
		if tc.status != nil {
			serveStatus(t, dir, tc.status)
		}
		out, _, err := runSessions(t, dir, tc.mesh, append([]string{"rm"}, tc.args...)...)
		if got := stored(t, store); got != tc.left {
			t.Errorf("%s: left %s", tc.name, got)
		}
		said := out
		if tc.left == allStored {
			if err == nil || out != "" {
				t.Errorf("%s: said %q, %v", tc.name, out, err)
				continue
			}
			said = err.Error()
		} else if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if !strings.Contains(said, tc.says) {
			t.Errorf("%s: said %q", tc.name, said)
		}
	}
}

// TestSessionsRemoveAsksTheDaemon checks that the command finds out whether a session is
// live before it removes the key.
func TestSessionsRemoveAsksTheDaemon(t *testing.T) {
	dir, store := newSessions(t)
	serveStatus(t, dir, nil)
	for _, args := range [][]string{{"rm", sessionA}, {"prune", "--older-than", "1d"}} {
		if out, _, err := runSessions(t, dir, "", args...); err == nil || stored(t, store) != allStored {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
	if _, errOut, err := runSessions(t, dir, ""); err != nil || !strings.Contains(errOut, "can't ask the daemon") {
		t.Errorf("list: %q, %v", errOut, err)
	}
	if _, _, err := runSessions(t, dir, "", "rm", "--force", sessionA); err != nil || stored(t, store) != "team/a2 team/c3" {
		t.Errorf("by force: %v", err)
	}
	// The file of a crashed daemon doesn't count as a daemon.
	writeInfo(t, dir, local.Info{Socket: filepath.Join(t.TempDir(), "gone"), Token: "x"})
	if _, _, err := runSessions(t, dir, "", "rm", sessionB); err != nil || stored(t, store) != "team/c3" {
		t.Errorf("after its death: %v", err)
	}
}

func TestSessionsPrune(t *testing.T) {
	for _, tc := range []struct {
		name, mesh string
		args       []string
		live, left string
		says       string
	}{
		{"days", "", []string{"--older-than", "30d"}, "", "team/a1 team/a2", "Removed " + sessionA + " in side"},
		{"hours", "", []string{"--older-than", "48h"}, "", "team/a1", "Removed " + sessionB + " in team"},
		{"nothing", "", []string{"--older-than", "60d"}, "", allStored, "Nothing to remove."},
		{"dry run", "", []string{"--older-than", "30d", "--dry-run"}, "", allStored, "Would remove " + sessionA + " in side"},
		{"one mesh", "side", []string{"--older-than", "1d"}, "", "team/a1 team/a2 team/c3", "Removed"},
		{"live", "", []string{"--older-than", "1d"}, sessionB, "team/a1 team/a2", "Removed"},
		{"live in another mesh", "", []string{"--older-than", "30d"}, sessionA, "side/a1 team/a1 team/a2", "damaged"},
	} {
		dir, store := newSessions(t)
		if tc.live != "" {
			serveStatus(t, dir, &local.Status{Sessions: []local.SessionStatus{{SessionID: tc.live}}})
		}
		out, _, err := runSessions(t, dir, tc.mesh, append([]string{"prune"}, tc.args...)...)
		if got := stored(t, store); err != nil || got != tc.left || !strings.Contains(out, tc.says) {
			t.Errorf("%s: %v, left %s, said %q", tc.name, err, got, out)
		}
	}
	for _, args := range [][]string{{"prune"}, {"prune", "--older-than", "month"}, {"prune", "--older-than", "0d"}, {"prune", "--older-than", "-1h"}} {
		dir, store := newSessions(t)
		if _, _, err := runSessions(t, dir, "", args...); err == nil || stored(t, store) != allStored {
			t.Errorf("%q: %v, left %s", args, err, stored(t, store))
		}
	}
}

func TestSessionsRoot(t *testing.T) {
	dir := peer.Dir(t.TempDir())
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	if got := peer.SessionsRoot(dir); got != filepath.Join(string(dir), "sessions") {
		t.Errorf("got %s", got)
	}
	other := t.TempDir()
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", other)
	if got := peer.SessionsRoot(dir); got != other {
		t.Errorf("got %s", got)
	}
	t.Chdir(other)
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "keys")
	if got := peer.SessionsRoot(dir); !filepath.IsAbs(got) || filepath.Base(got) != "keys" {
		t.Errorf("got %s", got)
	}
}
