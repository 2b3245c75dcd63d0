package broker

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/wire"
)

// loadAuditKey reads the key that signs checkpoints. The first broker that opens the storage
// makes it.
func (b *Broker) loadAuditKey(ctx context.Context) error {
	key, err := b.storage.AuditKey(ctx, audit.NewKey())
	if err != nil {
		return fmt.Errorf("load the key of the audit logs: %w", err)
	}
	b.auditKey.Store(&key)
	return nil
}

// checkpointPatience is how long a hello waits for checkpoints. Clients wait 5 s for the answer
// to a hello.
const checkpointPatience = 3 * time.Second

// checkpoints returns what a client that keeps a checkpoint of size needs to check the
// mesh's log. It returns nil if the storage does not answer: no hello fails for that.
func (r *room) checkpoints(size int64) *wire.Checkpoints {
	if r.broker.journal.Down() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.broker.life, checkpointPatience)
	defer cancel()
	shown, err := r.broker.readCheckpoints(ctx, r.id, size)
	if err != nil {
		r.broker.log.Warn("no checkpoint of the audit log for a client", zap.Stringer("mesh", r.id), zap.Error(err))
		return nil
	}
	return shown
}

// readCheckpoints signs what is stored, and nothing that still waits for a commit: a crash
// must not contradict a checkpoint.
func (b *Broker) readCheckpoints(ctx context.Context, id wire.ID, size int64) (*wire.Checkpoints, error) {
	head, err := b.storage.AuditHead(ctx, id)
	if err != nil {
		return nil, err
	}
	key := b.auditKey.Load()
	shown := &wire.Checkpoints{Verifier: key.Verifier(id), Newest: key.Checkpoint(id, head)}
	if size > 0 && size < head.Seq {
		entries, err := b.storage.AuditEntries(ctx, id, size-1, 1)
		if err != nil {
			return nil, err
		}
		if len(entries) == 1 && entries[0].Seq == size {
			shown.Kept = key.Checkpoint(id, audit.Head{Seq: size, Hash: entries[0].Hash})
		}
	}
	if shown.Pruned, err = b.storage.AuditPruned(ctx, id); err != nil {
		return nil, err
	}
	shown.Restores, err = b.storage.AuditRestores(ctx, id, audit.MaxRestores)
	return shown, err
}
