package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counted counts the queries for nodes.
type counted struct {
	Directory
	queries atomic.Int64
}

func (c *counted) Nodes(ctx context.Context) ([]Node, error) {
	c.queries.Add(1)
	return c.Directory.Nodes(ctx)
}

// TestNodeJoins checks that the key of a node that has just joined is not taken for that of a
// stranger, and that strangers share the queries.
func TestNodeJoins(t *testing.T) {
	joins, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	table := newTable()
	database := &counted{Directory: view{table: table}}
	r := roster{directory: database, life: t.Context()}
	r.learn(nil, time.Now())
	table.change(func() { table.nodes = append(table.nodes, Node{ID: 7, PublicKey: joins.Public(), Live: true}) })
	if err := r.verify(joins.Public()); err != nil {
		t.Errorf("a node that has just joined: %v", err)
	}

	before := database.queries.Load()
	started := make(chan struct{})
	var verifying sync.WaitGroup
	for range 1000 {
		verifying.Go(func() {
			<-started
			if err := r.verify(stranger.Public()); !errors.Is(err, errStranger) {
				t.Errorf("a stranger: %v", err)
			}
		})
	}
	close(started)
	verifying.Wait()
	if n := database.queries.Load() - before; n > 100 {
		t.Errorf("1000 strangers cost %d queries", n)
	}
}
