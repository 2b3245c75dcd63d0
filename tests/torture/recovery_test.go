package torture

import (
	"context"
	"sync"
)

// awaitRecovery waits until all meshes have made progress and what their peers sent before is acknowledged. So the peers that
// were connected to a node that is out of order have found another one.
func (c *nodes) awaitRecovery() {
	c.w.t.Helper()
	ctx, cancel := context.WithTimeout(c.w.ctx, patience)
	defer cancel()
	stuck := make([]error, len(c.meshes))
	var all sync.WaitGroup
	for i, mesh := range c.meshes {
		all.Go(func() {
			if stuck[i] = mesh.ledger.progress(ctx, someLoad); stuck[i] == nil {
				stuck[i] = mesh.ledger.acknowledged(ctx)
			}
		})
	}
	all.Wait()
	for i, mesh := range c.meshes {
		if stuck[i] != nil {
			c.w.t.Fatalf("%s does not recover: %s", mesh.name, mesh.account())
		}
	}
}

// startGaps begins to measure the gaps anew. A fault that nobody can serve under calls it when it is over: from then on
// the gaps say how long the cluster needs.
func (c *nodes) startGaps() {
	for _, mesh := range c.meshes {
		mesh.ledger.startGaps()
	}
}

// longestGaps returns the longest gaps in any mesh.
func (c *nodes) longestGaps() (longest gaps) {
	for _, mesh := range c.meshes {
		longest = longest.or(mesh.ledger.longestGaps())
	}
	return longest
}
