package bench

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/brokertest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for an event that must happen.
const patience = await.Patience

// startBroker serves a broker with very high limits.
func startBroker(t testing.TB, change func(*broker.Settings)) (url string, metrics string) {
	t.Helper()
	b := brokertest.Start(t, brokertest.Routes(figures), brokertest.Settings(func(s *broker.Settings) {
		s.SendRatePerMin, s.SendBurst = 1_000_000_000, 1_000_000_000
		s.WorkPerMin, s.WorkBurst, s.NewSessionsPerHour = 1_000_000_000, 1_000_000_000, 1_000_000_000
		if change != nil {
			change(s)
		}
	}))
	return b.URL(), b.HTTP("/metrics")
}

// figures serves the routes from which a run reads the broker's figures.
func figures(mux *http.ServeMux, b *broker.Broker) {
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(wire.Health{Status: "ok", DB: "up", Version: "1.2.3"})
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		s := b.Stats()
		fmt.Fprintf(w, "# HELP x\nprocess_resident_memory_bytes %d\n", 50_000_000+20_000*s.Connections)
		fmt.Fprintf(w, "caddy_claudemesh_connections %d\ncaddy_claudemesh_joins_total %d\n", s.Connections, s.Joins)
		fmt.Fprintf(w, "caddy_claudemesh_commits_total %d\ncaddy_claudemesh_messages_accepted_total %d\n", s.Journal.Commits, s.Queue.Accepted)
	})
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
