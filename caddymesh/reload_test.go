package caddymesh

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/coder/websocket"
	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// running returns the broker of a SQLite file.
func running(t *testing.T, path string) *broker.Broker {
	t.Helper()
	var found *broker.Broker
	hubs.Range(func(key, value any) bool {
		if key == (&SQLite{Path: path}).Identity() {
			found = value.(*hub).broker.Load()
		}
		return true
	})
	if found == nil {
		t.Fatalf("no broker on %s", path)
	}
	return found
}

func hubCount() (n int) {
	hubs.Range(func(any, any) bool { n++; return true })
	return n
}

func TestReloadKeepsSockets(t *testing.T) {
	s := startServer(t, "send_burst 10")
	ws := s.dial()
	before := running(t, s.db("mesh.db"))

	for burst := 11; burst < 14; burst++ {
		if err := s.load(fmt.Sprintf("send_burst %d", burst)); err != nil {
			t.Fatal(err)
		}
		if err := s.answers(ws); err != nil {
			t.Fatalf("after the reload: %v", err)
		}
		b := running(t, s.db("mesh.db"))
		if b != before {
			t.Fatal("the reload made a new broker")
		}
		if got := b.Settings().SendBurst; got != burst {
			t.Errorf("send_burst is %d after the reload, want %d", got, burst)
		}
	}
	if n := hubCount(); n != 1 {
		t.Errorf("got %d hubs", n)
	}
}

func TestNewStorageClosesSockets(t *testing.T) {
	s := startServer(t)
	ws := s.dial()
	if err := s.answers(ws); err != nil {
		t.Fatal(err)
	}
	ended := make(chan websocket.StatusCode, 1)
	go func() { ended <- s.closeCode(ws) }()
	if err := s.load("storage sqlite " + s.db("other.db")); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != websocket.StatusServiceRestart {
		t.Errorf("closed with %d, want 1012", code)
	}
	if err := s.answers(s.dial()); err != nil {
		t.Errorf("the new broker: %v", err)
	}
	if n := hubCount(); n != 1 {
		t.Errorf("got %d hubs", n)
	}
}

func TestRemovedHandlerClosesSockets(t *testing.T) {
	s := startServer(t)
	ws := s.dial()
	ended := make(chan websocket.StatusCode, 1)
	go func() { ended <- s.closeCode(ws) }()
	if err := s.loadSite("respond 204"); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != websocket.StatusServiceRestart {
		t.Errorf("closed with %d, want 1012", code)
	}
	if n := hubCount(); n != 0 {
		t.Errorf("got %d hubs", n)
	}
}

func TestRefusedConfigChangesNothing(t *testing.T) {
	tests := []struct {
		name string
		load func(*testServer) error
		want string
	}{
		{"out of range", func(s *testServer) error { return s.load("send_burst 0") }, "send_burst is 0; allowed:"},
		{"found when provisioned", func(s *testServer) error {
			return s.load("send_burst 99", "create_meshes token {env.CLAUDEMESH_NO_SUCH_VARIABLE}")
		}, "CLAUDEMESH_NO_SUCH_VARIABLE"},
		{"found when another app starts", func(s *testServer) error {
			adapted, err := s.adapt(s.directives("send_burst 99"))
			if err != nil {
				return err
			}
			with := bytes.Replace(adapted, []byte(`"apps":{`), []byte(`"apps":{"claudemesh_test_refuser":{},`), 1)
			return caddy.Load(with, true)
		}, "refusing to start"},
		{"handlers disagree", func(s *testServer) error {
			storage := "storage sqlite " + s.db("mesh.db")
			return s.loadSite("claudemesh /a/* {\n" + storage + "\nsend_burst 98\n}\nclaudemesh {\n" + storage + "\nsend_burst 99\n}")
		}, "send_burst is 99 here and 98 there"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := startServer(t, "send_burst 10")
			ws := s.dial()
			// Apps start in random order: try several times.
			for range 5 {
				err := test.load(s)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("load: %v, want %q", err, test.want)
				}
				if got := running(t, s.db("mesh.db")).Settings().SendBurst; got != 10 {
					t.Errorf("send_burst is %d, want 10", got)
				}
				if err := s.answers(ws); err != nil {
					t.Fatalf("the socket: %v", err)
				}
			}
			if n := hubCount(); n != 1 {
				t.Errorf("got %d hubs", n)
			}
		})
	}
}

// TestRefusedConfigDuringReplacement checks that a config that starts a broker while another one is
// being replaced leaves no settings behind if Caddy then rejects it.
func TestRefusedConfigDuringReplacement(t *testing.T) {
	h := newHub(newMeasures())
	storage := &SQLite{Path: t.TempDir() + "/mesh.db"}
	start := func(burst int) (undo func()) {
		t.Helper()
		settings := broker.DefaultSettings()
		settings.SendBurst = burst
		undo, err := h.start(new(App), &use{hub: h, storage: storage, settings: settings}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		return undo
	}
	start(10)
	t.Cleanup(func() {
		if err := h.Destruct(); err != nil {
			t.Error(err)
		}
	})
	h.mu.Lock()
	h.stop(h.broker.Swap(nil)) // as if another process had the storage
	h.mu.Unlock()
	undo := start(20)
	undo()
	if got := h.broker.Load().Settings().SendBurst; got != 10 {
		t.Errorf("send_burst is %d, want 10", got)
	}
}

// TestReadyDuringReplacement sets the database of a broker back to an older state. /health/ready and the admin
// endpoint say so until another broker has replaced it, which takes as long as a client that does not answer when
// its socket is closed.
func TestReadyDuringReplacement(t *testing.T) {
	dsn := pgtest.DSN(t)
	t.Setenv("CLAUDEMESH_TEST_DSN", dsn)
	s := startServer(t, "storage postgres {env.CLAUDEMESH_TEST_DSN}")
	s.awaitReady()
	s.dial()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `UPDATE claudemesh.nodes SET renewals = -1`); err != nil {
		t.Fatal(err)
	}
	said := make(map[string]bool)
	replaced := 0
	await.Until(t, "the broker is ready again", func() bool {
		response, answer := s.do("GET", "/health/ready", "")
		said[answer] = true
		if isReplaced(t) {
			errs := errorsOfAdmin(t)
			if isReplaced(t) { // it was all the time
				replaced++
				for name, err := range errs {
					if err == nil || errors.Is(err, broker.ErrNoMesh) || !strings.Contains(err.Error(), "is being replaced") {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		}
		return response.StatusCode == http.StatusOK && len(said) > 1
	})
	if replaced == 0 {
		t.Error("the admin endpoint did not say that the broker is being replaced")
	}
	if said[`{"status":"not_ready","reason":"starting"}`] || !said[`{"status":"not_ready","reason":"storage_set_back"}`] {
		t.Errorf("/health/ready says %v", said)
	}
}

// isReplaced reports whether the admin endpoint says that the broker is being replaced.
func isReplaced(t *testing.T) bool {
	t.Helper()
	answer, err := adminStatus(httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/status", nil))
	rows, _ := answer.([]statusRow)
	if err != nil || len(rows) != 1 || rows[0].Storage == "" || rows[0].Ready != (rows[0].Error == "") {
		t.Fatalf("the status is %+v, %v", answer, err)
	}
	return strings.Contains(rows[0].Error, "is being replaced")
}

// errorsOfAdmin asks the admin endpoint what only a broker can answer, and returns the errors.
func errorsOfAdmin(t *testing.T) map[string]error {
	t.Helper()
	errs := make(map[string]error)
	for name, ask := range map[string]func(*http.Request) (any, error){"meshes": adminMeshes, "sessions": adminSessions, "kick": adminKick, "audit": adminAudit} {
		_, errs[name] = ask(httptest.NewRequestWithContext(t.Context(), "GET", "/claudemesh/"+name+"?mesh=team&target=alice", nil))
	}
	return errs
}

func TestValidatingOpensNothing(t *testing.T) {
	path := t.TempDir() + "/sub/mesh.db"
	config := fmt.Sprintf(`{"apps":{"http":{"servers":{"a":{"listen":["127.0.0.1:0"],"routes":[{"handle":[
		{"handler":"claudemesh","storage":{"module":"sqlite","path":%q}}]}]}}}}}`, path)
	var parsed caddy.Config
	if err := json.Unmarshal([]byte(config), &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err != nil {
		t.Fatal(err)
	}
	if n := hubCount(); n != 0 {
		t.Errorf("got %d hubs", n)
	}
	if err := mustExist(&SQLite{Path: path}); err == nil {
		t.Errorf("validating created the database")
	}
}

// refuser is an app whose Start fails.
type refuser struct{}

func init() {
	caddy.RegisterModule(new(refuser))
}

func (*refuser) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "claudemesh_test_refuser", New: func() caddy.Module { return new(refuser) }}
}

func (*refuser) Start() error { return errors.New("refusing to start") }
func (*refuser) Stop() error  { return nil }

func TestNewerSchemaRefusesTheConfig(t *testing.T) {
	s := startServer(t)
	newer := s.db("newer.db")
	if _, err := command(t, "migrate", "--sqlite", newer); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO schema_version VALUES (999, 0)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	err = s.load("storage sqlite " + newer)
	if err == nil || !strings.Contains(err.Error(), "run a newer broker") {
		t.Fatalf("load: %v", err)
	}
	s.awaitReady() // the previous config serves
	if n := hubCount(); n != 1 {
		t.Errorf("got %d hubs", n)
	}
}
