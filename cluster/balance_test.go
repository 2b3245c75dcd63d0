package cluster

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// TestBalance checks how many meshes each node owns after the moves, for random clusters.
func TestBalance(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var nodes []Node
		owned := make(map[int64][]wire.ID)
		takers := 0
		for i := range rnd.IntN(6) {
			n := Node{ID: int64(i + 1), Address: "a:1", Live: rnd.IntN(8) > 0, Draining: rnd.IntN(8) == 0, Elsewhere: rnd.IntN(8) == 0}
			nodes = append(nodes, n)
			for k := range rnd.IntN(60) {
				owned[n.ID] = append(owned[n.ID], wire.ID{byte(i + 1), byte(k)})
			}
			if n.Takes() {
				takers++
			}
		}
		at := make(map[wire.ID]int64)
		count := make(map[int64]int)
		total := 0
		for _, n := range nodes {
			for _, m := range owned[n.ID] {
				at[m] = n.ID
			}
			if n.Takes() {
				count[n.ID] = len(owned[n.ID])
				total += len(owned[n.ID])
			}
		}
		moved := make(map[wire.ID]bool)
		for _, m := range Balance(nodes, owned) {
			if moved[m.Mesh] || at[m.Mesh] != m.From || m.From == m.To {
				t.Fatalf("seed %d: the move %+v of a mesh of node %d, moved before: %v", seed, m, at[m.Mesh], moved[m.Mesh])
			}
			moved[m.Mesh] = true
			count[m.From]--
			count[m.To]++
		}
		most, least := 0, 1000
		for _, n := range nodes {
			switch {
			case n.Takes():
				most, least = max(most, count[n.ID]), min(least, count[n.ID])
			case count[n.ID] != 0:
				t.Errorf("seed %d: a move from or to node %d, which takes no meshes", seed, n.ID)
			}
		}
		if takers > 0 && float64(most*takers) > balanced*float64(total) && most-least > 1 {
			t.Errorf("seed %d: one node has %d of %d meshes on %d nodes, another one %d", seed, most, total, takers, least)
		}
	}
}

// TestBalanceMovesFew checks that a cluster that is balanced stays as it is.
func TestBalanceMovesFew(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		meshes []int
		moves  int
	}{
		{[]int{10, 10, 12}, 0},
		{[]int{1, 1, 2}, 0}, // no move makes it better
		{[]int{3, 1, 0}, 1},
		{[]int{30, 0, 0}, 18}, // to 12, 9, 9
		{[]int{0, 0}, 0},
		{nil, 0},
	} {
		var nodes []Node
		owned := make(map[int64][]wire.ID)
		for i, n := range test.meshes {
			nodes = append(nodes, Node{ID: int64(i), Address: "a:1", Live: true})
			for k := range n {
				owned[int64(i)] = append(owned[int64(i)], wire.ID{byte(i), byte(k)})
			}
		}
		if moves := Balance(nodes, owned); len(moves) != test.moves {
			t.Errorf("%v: got %d moves, want %d: %s", test.meshes, len(moves), test.moves, fmt.Sprint(moves))
		}
	}
}
