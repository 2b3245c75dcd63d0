package main

import (
	"bytes"
	"os"
	"testing"
)

const repository = "../.."

// TestPage checks that docs/capacity.md is what the program writes.
func TestPage(t *testing.T) {
	t.Parallel()
	want, err := render(repository)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(repository + "/docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/capacity.md is not what tests/capacity writes: run make docs")
	}
}

// TestNeed computes two rows and a loss by hand.
func TestNeed(t *testing.T) {
	t.Parallel()
	f := figures{SessionKB: 25, RelayedKB: 15, Hellos: 1000, Claims: 100, BrokerUS: 40, RelayUS: 10, StorageUS: 10, Durable: 20_000, Pool: 8}
	small := f.need(6e3)
	if small.Databases != 1 || small.Nodes != leastNodes || small.Messages != 100 || small.Connections != 30 || small.Commits != 200 || small.Daily != 8_640_000 || small.Counted != 1800 {
		t.Errorf("6,000 sessions: %+v", small)
	}
	// 10⁵ messages a second need ten databases at half their rate; 240 GB need 30 nodes, three for each.
	large := f.need(6e6)
	if large.Databases != 10 || large.Nodes != 30 || large.NodeGB != 8 || large.Cores != 5 || large.StorageCores != 1 || large.Counted != 180_000 {
		t.Errorf("6,000,000 sessions: %+v", large)
	}
	f.LeaseS, f.ReapMS = 3, 500
	l := f.lose(1e4, 4, 2)
	if l.Claimed != 500 || l.Hellos != 7500 || l.HelloS != 3.75 || l.Statements != 500*claimQueries || l.ClaimS != 5 || l.Free != 3.5 {
		t.Errorf("half of the nodes: %+v", l)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 3: "3", 1234567: "1,234,567", 0.9: "0.9", 42.61: "42.6", 123.4: "123", 1000: "1,000"} {
		if got := write(v); got != want {
			t.Errorf("%v is written %q, want %q", v, got, want)
		}
	}
}
