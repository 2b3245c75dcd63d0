package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

// Redeem implements mesh.Store. It returns mesh.ErrInviteNotFound if m's mesh has no such
// invite.
func (s *Store) Redeem(ctx context.Context, inviteID wire.ID, m mesh.Member) (member mesh.Member, existed bool, err error) {
	err = s.update(ctx, func(t tx) (err error) {
		v, err := invite(t.row(selectInvite+`WHERE id = ? AND mesh_id = ?`, inviteID[:], m.MeshID[:]))
		if err != nil {
			return err
		}
		if member, existed, err = t.memberByKey(m.MeshID, m.Key); existed || err != nil {
			return err
		}
		if err := column.Redeemable(v, m.JoinedAt); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE invites SET used = used + 1 WHERE id = ?`, inviteID[:]); err != nil {
			return err
		}
		if err := t.insertMember(m); err != nil {
			return err
		}
		// Read the member back, so that it looks the same as in later reads.
		member, err = column.ScanMember(t.row(selectMember+`WHERE id = ?`, m.ID[:]))
		return err
	})
	if err != nil {
		return mesh.Member{}, false, wrap("redeem invite", err)
	}
	return member, existed, nil
}

func (t tx) memberByKey(meshID wire.ID, key wire.Key) (m mesh.Member, found bool, err error) {
	if key.IsZero() {
		return m, false, nil
	}
	m, err = column.ScanMember(t.row(selectMember+`WHERE mesh_id = ? AND key = ?`, meshID[:], key[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return mesh.Member{}, false, nil
	}
	return m, err == nil, err
}
