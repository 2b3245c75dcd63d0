package operator

import (
	"net/http"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// newMesh creates a mesh through a broker's loopback address and returns the owner's credentials
// for that address.
func newMesh(t *testing.T, b *harness.Broker) peer.Mesh {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	created, err := peer.HTTP{BrokerURL: b.WSURL()}.CreateMesh(t.Context(), key, "team", "Team", "alice", "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return peer.Mesh{
		MeshID: created.MeshID.String(), MemberID: created.MemberID.String(), Slug: "team", Name: "Team",
		Member: key, BrokerURL: b.WSURL(), Key: envelope.NewMeshKey(),
	}
}

// dial connects a session of the mesh's member. The session ends with the test.
func dial(t *testing.T, o peer.Options) *peer.Client {
	t.Helper()
	var err error
	if o.Session, err = identity.Generate(); err != nil {
		t.Fatal(err)
	}
	c, err := peer.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// adminClient returns an HTTP client for the admin endpoint of a broker.
func adminClient(b *harness.Broker) *http.Client {
	return harness.AdminClient(filepath.Join(b.Home, "admin.sock"))
}

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
