package torture

import (
	"context"
	"time"

	"github.com/coder/websocket"
)

const (
	visitEvery = 250 * time.Millisecond
	// welcomeWithin is how long v1 clients wait for the answer to a hello.
	welcomeWithin = 5 * time.Second
)

// newVisitor creates a raw peer that only visits.
func (w *world) newVisitor() *rawPeer {
	w.t.Helper()
	return w.newRaw(w.stranger("visitor"))
}

// comeAndGo connects again and again, like new clients, and leaves at once. The ledger records each welcome.
// stop ends this after one more welcome.
func (a *rawPeer) comeAndGo() (stop func()) {
	l := a.w.ledger
	ctx, cancel := context.WithCancel(a.w.ctx)
	a.w.actors.Go(func() {
		tick := time.NewTicker(visitEvery)
		defer tick.Stop()
		for {
			a.w.actors.Go(func() { a.comeAndGoOnce(ctx) })
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		defer cancel()
		patient, done := context.WithTimeout(ctx, patience)
		defer done()
		now := time.Now()
		if l.await(patient, func() bool { return l.welcomed.After(now) }) != nil {
			a.fail("no node serves the mesh")
		}
	}
}

// comeAndGoOnce is one visit. It doesn't wait for others: the node that it comes to may be frozen.
func (a *rawPeer) comeAndGoOnce(ctx context.Context) {
	patient, stop := context.WithTimeout(ctx, welcomeWithin)
	defer stop()
	if ws, err := a.connect(patient); err == nil {
		a.w.ledger.welcome()
		_ = ws.Close(websocket.StatusNormalClosure, "")
	}
}
