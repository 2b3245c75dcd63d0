package caddymesh

import (
	"os"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage/postgres"
)

// TestPickNode checks which node a command means.
func TestPickNode(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	here := cluster.Node{ID: 1, Address: "10.0.0.1:7901", Host: host, Live: true}
	also := cluster.Node{ID: 2, Address: "10.0.0.1:7902", Host: host, Live: true}
	away := cluster.Node{ID: 3, Address: "10.0.0.2:7901", Host: host + "2", Live: true}
	dead := cluster.Node{ID: 4, Address: "10.0.0.3:7901", Host: host}
	alone := cluster.Node{ID: 5, Host: host, Live: true}
	for _, test := range []struct {
		nodes   []cluster.Node
		name    string
		want    int64
		problem string
	}{
		{nodes: []cluster.Node{dead, here, away}, want: 1},
		{nodes: []cluster.Node{here, away}, name: "10.0.0.2:7901", want: 3},
		{nodes: []cluster.Node{here, away}, name: "3", want: 3},
		{nodes: []cluster.Node{here, also, away}, problem: "2 nodes run on this host, " + host + "; name one with --node: 10.0.0.1:7901, 10.0.0.1:7902, 10.0.0.2:7901"},
		{nodes: []cluster.Node{away}, problem: "0 nodes run on this host"},
		{nodes: []cluster.Node{here, dead}, name: "4", problem: `no node has the id or address "4"; there are 10.0.0.1:7901`},
		{nodes: []cluster.Node{alone}, problem: "no nodes of a cluster"},
		{problem: "no nodes of a cluster"},
	} {
		n, err := pickNode(test.nodes, test.name)
		if test.problem == "" && (err != nil || n.ID != test.want) || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%q of %v: got node %d, %v; want %d, %s", test.name, test.nodes, n.ID, err, test.want, test.problem)
		}
	}
}

// TestClusterCommandsWithoutCluster checks what drain and rebalance say where there is nothing
// for them to do.
func TestClusterCommandsWithoutCluster(t *testing.T) {
	dsn := pgtest.DSN(t)
	store, err := postgres.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	store.Cluster(cluster.Self{Address: "10.0.0.1:7901", PublicKey: []byte{}})
	if err := store.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args          []string
		says, problem string
	}{
		{args: []string{"drain", "--database", dsn}, problem: "no other node would take the meshes of the node at 10.0.0.1:7901"},
		{args: []string{"drain", "--undo", "--database", dsn}, says: "The node at 10.0.0.1:7901 takes meshes again."},
		{args: []string{"rebalance", "--database", dsn}, says: "The nodes are balanced: nothing moves."},
		{args: []string{"rebalance", "--json", "--database", dsn}, says: "[]"},
		{args: []string{"drain", "--sqlite", t.TempDir() + "/mesh.db"}, problem: "name a Postgres database"},
		{args: []string{"rebalance", "--sqlite", t.TempDir() + "/mesh.db"}, problem: "name a Postgres database"},
	} {
		out, err := command(t, test.args...)
		if test.problem == "" && (err != nil || !strings.Contains(out, test.says)) || test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%v: got output %q and error %v", test.args, out, err)
		}
	}
}
