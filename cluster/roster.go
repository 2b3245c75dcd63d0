package cluster

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// nodesFresh is the least time between two looks at the database because of keys that are not those
// of known nodes: strangers share one query.
const nodesFresh = 200 * time.Millisecond

// errStranger says why a node refuses a connection from something other than a node.
var errStranger = errors.New("no node in the database has its key: it is a stranger, or a node of another database")

// roster knows the keys of the live nodes.
type roster struct {
	directory Directory
	life      context.Context
	asked     singleflight.Group

	mu    sync.Mutex
	nodes []Node
	asOf  time.Time // when the database was asked for them
}

// learn replaces the list of nodes by one for which the database was asked at a time.
func (r *roster) learn(nodes []Node, asOf time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if asOf.After(r.asOf) {
		r.nodes, r.asOf = nodes, asOf
	}
}

// verify reports whether a key is that of a live node. A node connects as soon as it has joined, so
// an unknown key counts as a stranger's only after another look at the database.
func (r *roster) verify(key ed25519.PublicKey) error {
	came := time.Now()
	for {
		known, asOf := r.find(key)
		switch {
		case known:
			return nil
		case asOf.After(came):
			return errStranger
		}
		if _, err, _ := r.asked.Do("", func() (any, error) { return nil, r.refresh(asOf) }); err != nil {
			return fmt.Errorf("read the keys of the nodes: %w", err)
		}
	}
}

func (r *roster) find(key ed25519.PublicKey) (known bool, asOf time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.nodes {
		if n.Live && key.Equal(ed25519.PublicKey(n.PublicKey)) {
			return true, r.asOf
		}
	}
	return false, r.asOf
}

// refresh reads the nodes, some time after the last look.
func (r *roster) refresh(last time.Time) error {
	pause(r.life, time.Until(last.Add(nodesFresh)))
	ctx, cancel := context.WithTimeout(r.life, connectWithin)
	defer cancel()
	asked := time.Now()
	nodes, err := r.directory.Nodes(ctx)
	if err == nil {
		r.learn(nodes, asked)
	}
	return err
}
