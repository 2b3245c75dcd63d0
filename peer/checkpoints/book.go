package checkpoints

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// fileName is the name of the file in the config directory. The lock of the config guards it.
const fileName = "audit-checkpoints.json"

// Record is what is kept of one mesh's log.
type Record struct {
	audit.Kept
	// Doubt is the first contradiction that was found. It stays, whatever the broker shows
	// later, until an announced restore explains it or the user accepts it.
	Doubt *Doubt `json:"doubt,omitempty"`
	// Restored is the last announced restore that explained a difference.
	Restored *Doubt `json:"restored,omitempty"`
}

// Doubt is a difference between what was kept and what a broker showed.
type Doubt struct {
	FoundAt time.Time `json:"found_at"`
	audit.Comparison
}

// Book is the kept checkpoints of a config directory.
type Book struct{ dir peer.Dir }

// Open returns the book of a config directory.
func Open(dir peer.Dir) Book { return Book{dir} }

// Record returns what is kept of a mesh's log.
func (b Book) Record(meshID wire.ID) (Record, error) {
	all, err := b.read()
	return all[meshID.String()], err
}

// Show compares what a broker shows with what was kept when the broker was asked, and keeps
// the result.
func (b Book) Show(ctx context.Context, meshID wire.ID, asked audit.Kept, shown *wire.Checkpoints) (audit.Comparison, error) {
	found, next := asked.Compare(meshID, shown)
	err := b.change(ctx, meshID, func(r *Record) {
		doubt := Doubt{time.Now().UTC().Truncate(time.Second), found}
		switch {
		case !found.Outcome.OK() && r.Doubt == nil:
			r.Doubt = &doubt
		case found.Outcome == audit.Restored:
			r.Doubt, r.Restored = nil, &doubt
		}
		if r.Checkpoint == asked.Checkpoint { // otherwise another program has been shown something later
			r.Kept = next
		}
	})
	return found, err
}

// Accept makes what the broker shows the new beginning, and drops the doubt.
func (b Book) Accept(ctx context.Context, meshID wire.ID, shown *wire.Checkpoints) error {
	found, next := audit.Kept{}.Compare(meshID, shown)
	if !found.Outcome.OK() {
		return fmt.Errorf("accept the broker's checkpoint: %s", found.Reason)
	}
	return b.change(ctx, meshID, func(r *Record) { *r = Record{Kept: next} })
}

func (b Book) change(ctx context.Context, meshID wire.ID, change func(*Record)) error {
	lock, err := peer.LockConfig(ctx, b.dir)
	if err != nil {
		return fmt.Errorf("keep a checkpoint: %w", err)
	}
	defer lock.Unlock()
	all, err := b.read()
	if err != nil {
		return err
	}
	r := all[meshID.String()]
	before, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keep a checkpoint: %w", err)
	}
	change(&r)
	if after, err := json.Marshal(r); err == nil && string(after) == string(before) {
		return nil
	}
	all[meshID.String()] = r
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("keep a checkpoint: %w", err)
	}
	return b.dir.WriteFile(fileName, append(text, '\n'))
}

func (b Book) read() (map[string]Record, error) {
	all := make(map[string]Record)
	text, err := os.ReadFile(b.dir.Path(fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read the kept checkpoints of audit logs in %s: %w", b.dir.Path(fileName), err)
	}
	return all, nil
}
