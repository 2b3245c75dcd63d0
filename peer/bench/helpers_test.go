package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = await.Patience

// startBroker serves a broker on a socket of its own.
func startBroker(t testing.TB, change func(*broker.Settings)) (url string, metrics string) {
	t.Helper()
	store, err := sqlite.Open(filepath.Join(t.TempDir(), "broker.db"))
	if err != nil {
		t.Fatal(err)
	}
	settings := broker.DefaultSettings()
	settings.SendRatePerMin, settings.SendBurst = 1_000_000_000, 1_000_000_000
	settings.WorkPerMin, settings.WorkBurst, settings.NewSessionsPerHour = 1_000_000_000, 1_000_000_000, 1_000_000_000
	if change != nil {
		change(&settings)
	}
	b := broker.New(broker.Options{Storage: store, Settings: settings, Log: zap.NewNop(), Version: "test"})
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(routes(t, b))
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/ws", server.URL + "/metrics"
}

func routes(t testing.TB, b *broker.Broker) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if err := b.ServeWebSocket(w, r, netip.MustParseAddr("127.0.0.1")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(wire.Health{Status: "ok", DB: "up", Version: "1.2.3"})
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		s := b.Stats()
		fmt.Fprintf(w, "# HELP x\nprocess_resident_memory_bytes %d\n", 50_000_000+20_000*s.Connections)
		fmt.Fprintf(w, "caddy_claudemesh_connections %d\ncaddy_claudemesh_joins_total %d\n", s.Connections, s.Joins)
		fmt.Fprintf(w, "caddy_claudemesh_commits_total %d\ncaddy_claudemesh_messages_accepted_total %d\n", s.Journal.Commits, s.Queue.Accepted)
	})
	mux.HandleFunc("POST /meshes", func(w http.ResponseWriter, r *http.Request) {
		var c wire.CreateMesh
		err := json.NewDecoder(r.Body).Decode(&c)
		created, createErr := b.CreateMesh(r.Context(), c)
		if err = errors.Join(err, createErr, json.NewEncoder(w).Encode(created)); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("POST /invites/{code}/claim", func(w http.ResponseWriter, r *http.Request) {
		var c wire.Claim
		err := json.NewDecoder(r.Body).Decode(&c)
		claimed, claimErr := b.Claim(r.Context(), r.PathValue("code"), c)
		if err = errors.Join(err, claimErr, json.NewEncoder(w).Encode(claimed)); err != nil {
			t.Error(err)
		}
	})
	return mux
}

// newMesh creates a mesh and returns its owner's credentials.
func newMesh(t testing.TB, url string) peer.Mesh {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	created, err := peer.HTTP{BrokerURL: url}.CreateMesh(t.Context(), key, "team", "Team", "alice", "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return peer.Mesh{
		MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: "team", Name: "Team",
		Member: key, BrokerURL: url, Key: envelope.NewMeshKey(),
	}
}

func value(t *testing.T, r *Result, name string) float64 {
	t.Helper()
	v, ok := r.Value(name)
	if !ok {
		t.Fatalf("no figure %s in %+v", name, r.Results)
	}
	return v
}
