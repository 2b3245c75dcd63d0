package checkpoints

import (
	"context"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/wire"
)

// keepWithin bounds how long a connect waits for the file.
const keepWithin = 5 * time.Second

// Witness keeps the checkpoints that a client is shown. It implements peer.Checkpoints.
type Witness struct {
	book   Book
	meshID wire.ID
	told   func(found *audit.Comparison, err error)

	mu    sync.Mutex
	asked audit.Kept
	shown *wire.Checkpoints
	found *audit.Comparison
}

// Witness returns a witness of a mesh's log. told is called after each connect: found is nil if
// the broker showed nothing, and err says why the book could not be kept.
func (b Book) Witness(meshID wire.ID, told func(found *audit.Comparison, err error)) *Witness {
	return &Witness{book: b, meshID: meshID, told: told}
}

// Size implements peer.Checkpoints.
func (w *Witness) Size() int64 {
	record := w.Record()
	head, _ := record.Head(w.meshID) // a bad note is found when it is compared
	w.mu.Lock()
	w.asked = record.Kept
	w.mu.Unlock()
	return head.Seq
}

// Shown implements peer.Checkpoints.
func (w *Witness) Shown(shown *wire.Checkpoints) {
	w.mu.Lock()
	asked := w.asked
	w.shown, w.found = shown, nil
	w.mu.Unlock()
	if shown == nil {
		w.told(nil, nil)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), keepWithin)
	defer cancel()
	found, err := w.book.Show(ctx, w.meshID, asked, shown)
	w.mu.Lock()
	w.found = &found
	w.mu.Unlock()
	w.told(&found, err)
}

// Record returns what is kept; nothing if it can't be read.
func (w *Witness) Record() Record {
	record, err := w.book.Record(w.meshID)
	if err != nil {
		w.told(nil, err)
	}
	return record
}

// Last returns what the broker showed at the last connect, and what was found; nil if it showed
// nothing.
func (w *Witness) Last() (*wire.Checkpoints, *audit.Comparison) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.shown, w.found
}
