package caddymesh

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage/postgres"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestNodesCommand(t *testing.T) {
	dsn := pgtest.DSN(t)
	want := func(pattern string) {
		t.Helper()
		out, err := command(t, "nodes", "--database", dsn)
		if err != nil || !regexp.MustCompile(pattern).MatchString(out) {
			t.Fatalf("%q, %v; want %s", out, err, pattern)
		}
	}
	want(`: no broker uses it\n$`) // and it has no schema
	store, err := postgres.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	want(`^HOST +PROCESS +STARTED +VERSION +SCHEMA +LEASE +ADDRESS +MESHES +ID\n` + regexp.QuoteMeta(host) + ` +` + strconv.Itoa(os.Getpid()) + ` +20\S+Z +\S+ +\d+ +(valid|expired) +- +all +\d+\n$`)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if store, err = postgres.Open(dsn); err != nil {
		t.Fatal(err)
	}
	store.Cluster(cluster.Self{Address: "10.0.0.1:7901", PublicKey: []byte{}})
	if err := store.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(`(valid|expired) +10\.0\.0\.1:7901 +0 +\d+\n$`)
	out, err := command(t, "nodes", "--json", "--database", dsn)
	var rows []nodeRow
	if err != nil || json.Unmarshal([]byte(out), &rows) != nil || len(rows) != 1 || rows[0].Address != "10.0.0.1:7901" || rows[0].PID != os.Getpid() || *rows[0].Meshes != 0 {
		t.Errorf("--json: %v\n%s", err, out)
	}
	same, err := postgres.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	same.Cluster(cluster.Self{Address: "10.0.0.1:7901", PublicKey: []byte{}})
	if err := same.Claim(t.Context()); !errors.Is(err, cluster.ErrSameAddress) {
		t.Fatalf("a second node with the address: %v", err)
	}
	process := `rocess ` + strconv.Itoa(os.Getpid()) + ` on host ` + regexp.QuoteMeta(host)
	want(` (valid|expired) +10\.0\.0\.1:7901 +0 +\d+\n.* waits +10\.0\.0\.1:7901 +0 +\d+\n\nP` + process + ` waits: .*: p` + process + `, .* advertises the same address 10\.0\.0\.1:7901: .*\n$`)
	out, err = command(t, "nodes", "--json", "--database", dsn)
	if err != nil || json.Unmarshal([]byte(out), &rows) != nil || len(rows) != 2 || rows[0].Waits != "" || rows[1].Live || *rows[1].Meshes != 0 || !strings.Contains(rows[1].Waits, "advertises the same address") {
		t.Errorf("--json: %v\n%s", err, out)
	}
	if err := errors.Join(same.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	want(`: no broker uses it\n$`)
	if out, err := command(t, "nodes", "--json", "--database", dsn); err != nil || out != "[]\n" {
		t.Errorf("--json without nodes: %v\n%s", err, out)
	}

	if out, err := command(t, "nodes", "--sqlite", t.TempDir()+"/mesh.db"); err == nil || !strings.Contains(err.Error(), "name a Postgres database") {
		t.Errorf("SQLite: got output %q and error %v", out, err)
	}
}
