package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer"
)

// balance measures how fast three nodes claim meshes without an owner, and how evenly these are spread, as a
// session of each arrives at a node that a balancer has chosen at random.
func (l *lab) balance(s *stage) {
	n := short(l, 1000, 60)
	dsn, name := l.database(s)
	nodes := []*site{l.node(s, dsn, name)}
	first := nodes[0]
	meshes := make([]peer.Mesh, n)
	for i := range meshes {
		meshes[i] = first.createMesh(s, i)
	}
	first.Stop() // which leaves the meshes without an owner
	first.Start()
	const size = 3
	for len(nodes) < size {
		nodes = append(nodes, l.node(s, dsn, name))
	}
	if owned := l.number(s, dsn, `SELECT count(*)::float8 FROM claudemesh.mesh_owners`); owned > 0 {
		s.Fatalf("%v meshes have an owner before anybody has come", owned)
	}
	if live := l.number(s, dsn, `SELECT count(*)::float8 FROM claudemesh.nodes`); live != size { // each counts for the mean
		s.Fatalf("the cluster has %v nodes, want %d", live, size)
	}

	clients, failed := make([]*peer.Client, n), make([]error, n)
	s.Cleanup(func() {
		for _, x := range nodes {
			x.Kill() // so that they don't tell the others that a session leaves
		}
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
	})
	var arriving sync.WaitGroup
	slots := make(chan struct{}, 32)
	began := time.Now()
	for i := range meshes {
		meshes[i].BrokerURL = nodes[rand.IntN(len(nodes))].WSURL()
		arriving.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			clients[i], failed[i] = peer.Dial(s.ctx, peer.Options{Mesh: meshes[i], About: peer.About{Channel: "claudemesh-bench"}})
		})
	}
	arriving.Wait()
	took := time.Since(began)
	for i, err := range failed {
		s.check(fmt.Sprintf("connect a session of mesh %d", i), err)
	}
	l.add("cluster/claims", float64(n)/took.Seconds())
	const spread = `SELECT (max(n) / avg(n))::float8 FROM (SELECT count(o.mesh_id) AS n
		FROM claudemesh.nodes LEFT JOIN claudemesh.mesh_owners o ON o.node_id = id GROUP BY id) AS owned`
	l.add("cluster/balance", l.number(s, dsn, spread))
}
