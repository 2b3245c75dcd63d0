package broker_test

import (
	"context"
	"errors"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/wire"
)

// TestHelloWithoutAnOwner sends a hello to the only node of a cluster, which gives its meshes away: nobody owns the
// mesh, and nobody can take it. The hello waits for an owner, and is then refused so that the client tries again.
func TestHelloWithoutAnOwner(t *testing.T) {
	t.Parallel()
	store, owners := openNode(t, pgtest.Start(t).DSN(), "a:1")
	key, err := cluster.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	log := zap.New(core)
	relay := cluster.NewRelay(key, owners, log)
	t.Cleanup(relay.Close)
	a := run(t, nil, broker.Options{Storage: store, Cluster: owners, Router: relay, Log: log}, nil)
	m := a.owner()
	a.session(m, newKeys(t), "x")
	if err := a.HandOverAll(t.Context(), 0); err != nil {
		t.Fatal(err)
	}

	client := a.dial()
	client.send(sessionHello(m, newKeys(t), "x"))
	if refusal := client.next("error"); refusal["code"] != string(wire.CodeTryAgain) {
		t.Errorf("got %v, want the code %s", refusal, wire.CodeTryAgain)
	}
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	_, _, err = client.ws.Read(ctx)
	var closed websocket.CloseError
	if !errors.As(err, &closed) || int(closed.Code) != wire.CloseTryLater {
		t.Errorf("closed with %v, want %d", err, wire.CloseTryLater)
	}
	warnings := logs.FilterMessage("a hello could not be relayed").All()
	if len(warnings) != 1 || warnings[0].ContextMap()["mesh"] != m.mesh {
		t.Errorf("got the warnings %v, want one about mesh %s", warnings, m.mesh)
	}
}
