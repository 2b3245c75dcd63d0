package audit

import (
	"context"
	"fmt"
	"time"
)

// AnnounceRestore records a restore from a backup in the log of each mesh of a restored
// storage: an entry that follows the newest one, and a signed announcement by which clients
// tell the restore from a forgery. It is for a storage that no broker uses. commit stores an
// entry and the head. A restore that was interrupted is announced again as a whole.
func AnnounceRestore(ctx context.Context, store Store, at time.Time, commit func(context.Context, Entry) error) error {
	key, err := store.AuditKey(ctx, NewKey())
	if err != nil {
		return fmt.Errorf("announce the restore: %w", err)
	}
	logs, err := store.AuditLogs(ctx)
	if err != nil {
		return fmt.Errorf("announce the restore: %w", err)
	}
	for _, l := range logs {
		id, head := l.Mesh, l.Head
		// The announcement comes first: an entry alone would explain nothing to clients.
		if err := store.AddAuditRestore(ctx, id, at, key.Announce(id, Restore{Head: head, At: at})); err != nil {
			return fmt.Errorf("announce the restore to mesh %s: %w", id, err)
		}
		entry, _ := Extend(head, NewEvent(id, at, Broker, LogRestoredDetail{Size: head.Seq, Hash: head.Hash}))
		if err := commit(ctx, entry); err != nil {
			return fmt.Errorf("enter the restore into the log of mesh %s: %w", id, err)
		}
	}
	return nil
}
