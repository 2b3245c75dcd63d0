package cluster

import "github.com/claudemesh/claudemesh/wire"

// balanced is how many meshes the most loaded node of a balanced cluster may own, as a multiple
// of the mean.
const balanced = 1.2

// Move is a mesh that one node is to give to another.
type Move struct {
	Mesh     wire.ID
	From, To int64
}

// Balance returns the moves after which no node that takes meshes owns more than 1.2 times the
// mean, or after which no move makes it better. The meshes of a node move in the order in
// which they are given. Meshes of nodes that take none are left alone: those nodes give them
// away by themselves.
func Balance(nodes []Node, owned map[int64][]wire.ID) []Move {
	var counts []load
	total := 0
	for _, n := range nodes {
		if n.Takes() {
			counts = append(counts, load{n.ID, len(owned[n.ID])})
			total += len(owned[n.ID])
		}
	}
	if len(counts) == 0 {
		return nil
	}
	var moves []Move
	given := make(map[int64]int)
	for {
		most, least := &counts[0], &counts[0]
		for i := range counts {
			c := &counts[i]
			if c.meshes > most.meshes {
				most = c
			}
			if c.meshes < least.meshes {
				least = c
			}
		}
		if float64(most.meshes*len(counts)) <= balanced*float64(total) || most.meshes-least.meshes < 2 {
			return moves
		}
		// The most loaded node has not got any: it was above the mean from the beginning.
		moves = append(moves, Move{owned[most.node][given[most.node]], most.node, least.node})
		given[most.node]++
		most.meshes--
		least.meshes++
	}
}

// load is how many meshes a node owns.
type load struct {
	node   int64
	meshes int
}
