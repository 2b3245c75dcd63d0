package inbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// Acquired is everything that Contacts remember, of all meshes, in order of arrival. Times
// are in Unix milliseconds; 0 means never.
type Acquired struct {
	Members []AcquiredMember `json:"members"`
	Names   []AcquiredName   `json:"names"`
}

// AcquiredMember is a member that the user has met.
type AcquiredMember struct {
	MeshID      string `json:"meshId"`
	Member      string `json:"member"` // its key
	Name        string `json:"name"`
	PinnedAt    int64  `json:"pinnedAt"`
	ConfirmedAt int64  `json:"confirmedAt,omitempty"`
}

// AcquiredName is a name that a member has used.
type AcquiredName struct {
	AcquiredMember
	TrustedAt int64 `json:"trustedAt,omitempty"`
}

// Acquired returns everything that the contacts remember.
func (c Contacts) Acquired(ctx context.Context) (a *Acquired, err error) {
	a = &Acquired{}
	a.Members, err = disk.Collect(ctx, c.inbox.db, func(r *sql.Rows, m *AcquiredMember) error {
		return r.Scan(&m.MeshID, &m.Member, &m.Name, &m.PinnedAt, &m.ConfirmedAt)
	}, `SELECT mesh_id, member, name, pinned_at, coalesce(confirmed_at, 0) FROM contact ORDER BY id`)
	if err == nil {
		a.Names, err = disk.Collect(ctx, c.inbox.db, func(r *sql.Rows, n *AcquiredName) error {
			return r.Scan(&n.MeshID, &n.Member, &n.Name, &n.PinnedAt, &n.ConfirmedAt, &n.TrustedAt)
		}, `SELECT mesh_id, member, name, pinned_at, coalesce(confirmed_at, 0), coalesce(trusted_at, 0) FROM name_pin ORDER BY id`)
	}
	if err != nil {
		return nil, fmt.Errorf("list contacts: %w", err)
	}
	return a, nil
}

// Acquire adds contacts from elsewhere, such as a backup, and returns how many members are
// new. It removes nothing. If the user has confirmed a key or trusted a name in either
// place, that holds from now on.
func (c Contacts) Acquire(ctx context.Context, a *Acquired) (added int, err error) {
	err = c.inbox.inTx(ctx, "add contacts", func(tx *sql.Tx) error {
		for _, m := range a.Members {
			if _, err := wire.ParseKey(m.Member); err != nil {
				return fmt.Errorf("the key of %q: %w", m.Name, err)
			}
			var known bool
			if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM contact WHERE mesh_id = ? AND member = ?)`, m.MeshID, m.Member).Scan(&known); err != nil {
				return err
			}
			if !known {
				added++
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO contact (mesh_id, member, name, folded, pinned_at, confirmed_at) VALUES (?, ?, ?, ?, ?, nullif(?, 0))
				ON CONFLICT (mesh_id, member) DO UPDATE SET confirmed_at = coalesce(confirmed_at, excluded.confirmed_at)`,
				m.MeshID, m.Member, m.Name, alike.Skeleton(m.Name), m.PinnedAt, m.ConfirmedAt)
			if err != nil {
				return err
			}
		}
		for _, n := range a.Names {
			if _, err := wire.ParseKey(n.Member); err != nil {
				return fmt.Errorf("the key of %q: %w", n.Name, err)
			}
			_, err := tx.ExecContext(ctx, `INSERT INTO name_pin (mesh_id, folded, member, name, pinned_at, confirmed_at, trusted_at) VALUES (?, ?, ?, ?, ?, nullif(?, 0), nullif(?, 0))
				ON CONFLICT (mesh_id, member, name) DO UPDATE SET confirmed_at = coalesce(confirmed_at, excluded.confirmed_at), trusted_at = coalesce(trusted_at, excluded.trusted_at)`,
				n.MeshID, alike.Skeleton(n.Name), n.Member, n.Name, n.PinnedAt, n.ConfirmedAt, n.TrustedAt)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return added, err
}
