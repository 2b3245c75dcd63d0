package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

// Redeem implements mesh.Store. It returns mesh.ErrInviteNotFound if m's mesh has no such
// invite.
func (s *Store) Redeem(ctx context.Context, inviteID wire.ID, m mesh.Member) (member mesh.Member, existed bool, err error) {
	err = s.transaction(ctx, []wire.ID{m.MeshID}, func(ctx context.Context, tx pgx.Tx) (err error) {
		// Lock the invite, so that every other use of it waits.
		v, err := scanInvite(tx.QueryRow(ctx, selectInvite+`WHERE id = $1 AND mesh_id = $2 FOR UPDATE`,
			uuid(inviteID), uuid(m.MeshID)))
		if err != nil {
			return err
		}
		if member, existed, err = memberByKey(ctx, tx, m); existed || err != nil {
			return err
		}
		if err := column.Redeemable(v, m.JoinedAt); err != nil {
			return err
		}
		// The same key may be redeeming another invite right now. Then this statement
		// waits for the other transaction and finds its member.
		tag, err := tx.Exec(ctx, insertMember+` ON CONFLICT (mesh_id, key) WHERE key IS NOT NULL DO NOTHING`, memberArgs(m)...)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			member, existed, err = memberByKey(ctx, tx, m)
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE claudemesh.invites SET used = used + 1 WHERE id = $1`, uuid(inviteID)); err != nil {
			return err
		}
		// Read the member back, so that it looks the same as in later reads.
		member, err = column.ScanMember(tx.QueryRow(ctx, selectMember+`WHERE id = $1`, uuid(m.ID)))
		return err
	})
	if err != nil {
		return mesh.Member{}, false, wrap("redeem invite", err)
	}
	return member, existed, nil
}

// memberByKey returns the member of m's mesh with m's key.
func memberByKey(ctx context.Context, tx pgx.Tx, m mesh.Member) (found mesh.Member, ok bool, err error) {
	if m.Key.IsZero() {
		return found, false, nil
	}
	found, err = column.ScanMember(tx.QueryRow(ctx, selectMember+`WHERE mesh_id = $1 AND key = $2`, uuid(m.MeshID), m.Key[:]))
	if errors.Is(err, pgx.ErrNoRows) {
		return mesh.Member{}, false, nil
	}
	return found, err == nil, err
}
