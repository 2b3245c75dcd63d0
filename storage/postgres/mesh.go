package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	insertMesh   = `INSERT INTO claudemesh.meshes (` + column.MeshColumns + `) VALUES ($1,$2,$3,$4,$5)`
	insertMember = `INSERT INTO claudemesh.members (` + column.MemberColumns + `) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)`
	insertInvite = `INSERT INTO claudemesh.invites (` + column.InviteColumns + `)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15)`
	selectMember = `SELECT ` + column.MemberColumns + ` FROM claudemesh.members `
	selectInvite = `SELECT ` + column.InviteColumns + ` FROM claudemesh.invites `
)

// transaction runs do in a transaction that may write to the given meshes.
func (s *Store) transaction(ctx context.Context, meshes []wire.ID, do func(ctx context.Context, tx pgx.Tx) error) error {
	ctx, done := s.scope(ctx)
	defer done()
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if query, args := s.fence(meshes); query != "" {
			if _, err := tx.Exec(ctx, query, args...); err != nil {
				return err
			}
		}
		return do(ctx, tx)
	})
}

// CreateMesh implements mesh.Store. It returns mesh.ErrExists if the mesh or the member
// already exists.
func (s *Store) CreateMesh(ctx context.Context, m mesh.Mesh, owner mesh.Member) error {
	err := s.transaction(ctx, nil, func(ctx context.Context, tx pgx.Tx) error {
		if l := s.lease.Load(); l != nil && l.shared { // whoever creates a mesh is its first owner
			if _, err := tx.Exec(ctx, insertOwner, uuid(m.ID), l.id); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, insertMesh, uuid(m.ID), column.Text(m.Slug), column.Text(m.Name), column.Key(m.Owner),
			column.Millis(m.CreatedAt))
		if err == nil {
			_, err = tx.Exec(ctx, insertMember, memberArgs(owner)...)
		}
		return err
	})
	if violated(err, uniqueViolation) {
		return fmt.Errorf("create mesh: %w", mesh.ErrExists)
	}
	return wrap("create mesh", err)
}

func memberArgs(m mesh.Member) []any {
	return []any{uuid(m.ID), uuid(m.MeshID), column.Key(m.Key), column.Text(m.DisplayName), string(m.Role),
		column.Groups(m.Groups), column.Millis(m.JoinedAt), column.Millis(m.RemovedAt),
		column.Grants(m.Grants), column.Ban(&m)}
}

// Mesh implements mesh.Store.
func (s *Store) Mesh(ctx context.Context, id wire.ID) (m mesh.Mesh, members []mesh.Member, err error) {
	err = s.row(ctx, func(r pgx.Row) error { m, err = column.ScanMesh(r); return err },
		`SELECT `+column.MeshColumns+` FROM claudemesh.meshes WHERE id = $1`, uuid(id))
	if errors.Is(err, pgx.ErrNoRows) {
		return mesh.Mesh{}, nil, mesh.ErrMeshNotFound
	}
	if err != nil {
		return mesh.Mesh{}, nil, wrap("load mesh", err)
	}
	// Read the members after the mesh: a mesh is never deleted, and its members never
	// become fewer.
	members, err = collect(ctx, s, column.ScanMember, selectMember+`WHERE mesh_id = $1 ORDER BY joined_at, id`, uuid(id))
	if err != nil {
		return mesh.Mesh{}, nil, wrap("load members", err)
	}
	return m, members, nil
}

// AddInvite implements mesh.Store. It returns mesh.ErrMeshNotFound if the mesh does not
// exist.
func (s *Store) AddInvite(ctx context.Context, v mesh.Invite) error {
	var hash []byte
	if v.TokenHash != [32]byte{} {
		hash = v.TokenHash[:]
	}
	_, err := s.exec(ctx, []wire.ID{v.MeshID}, insertInvite, uuid(v.ID), uuid(v.MeshID), string(v.Kind), column.NullText(v.Code),
		column.Key(v.ClaimKey), column.Text(v.SealedRootKey), hash, string(v.Role), column.Groups(v.Groups), v.Uses, v.Used,
		column.Millis(v.ExpiresAt), column.Millis(v.CreatedAt), uuid(v.CreatedBy), column.Millis(v.RevokedAt))
	switch {
	case violated(err, uniqueViolation):
		return fmt.Errorf("add invite: %w", mesh.ErrExists)
	case violated(err, foreignKeyViolation):
		return fmt.Errorf("add invite: %w", mesh.ErrMeshNotFound)
	}
	return wrap("add invite", err)
}

// InviteByCode implements mesh.Store.
func (s *Store) InviteByCode(ctx context.Context, code string) (mesh.Invite, error) {
	return s.invite(ctx, selectInvite+`WHERE code = $1`, column.Text(code))
}

// InviteByToken implements mesh.Store.
func (s *Store) InviteByToken(ctx context.Context, hash [32]byte) (mesh.Invite, error) {
	return s.invite(ctx, selectInvite+`WHERE token_hash = $1`, hash[:])
}

func (s *Store) invite(ctx context.Context, query string, arg any) (v mesh.Invite, err error) {
	err = s.row(ctx, func(r pgx.Row) error { v, err = scanInvite(r); return err }, query, arg)
	return v, wrap("find invite", err)
}

func scanInvite(r pgx.Row) (mesh.Invite, error) {
	v, err := column.ScanInvite(r)
	if errors.Is(err, pgx.ErrNoRows) {
		return mesh.Invite{}, mesh.ErrInviteNotFound
	}
	return v, err
}

// Invites implements mesh.Store.
func (s *Store) Invites(ctx context.Context, meshID wire.ID) ([]mesh.Invite, error) {
	list, err := collect(ctx, s, column.ScanInvite,
		selectInvite+`WHERE mesh_id = $1 ORDER BY created_at DESC, id DESC LIMIT 500`, uuid(meshID))
	return list, wrap("list invites", err)
}

// RevokeInvite implements mesh.Store.
func (s *Store) RevokeInvite(ctx context.Context, meshID, inviteID wire.ID, at time.Time) error {
	const query = `UPDATE claudemesh.invites SET revoked_at = coalesce(revoked_at, $1) WHERE id = $2 AND mesh_id = $3`
	return s.updateOne(ctx, meshID, "revoke invite", mesh.ErrInviteNotFound, query, column.Millis(at), uuid(inviteID), uuid(meshID))
}

// UpdateMember implements mesh.Store.
func (s *Store) UpdateMember(ctx context.Context, m mesh.Member) error {
	const query = `UPDATE claudemesh.members SET display_name = $1, role = $2, groups = $3, removed_at = $4, grants = $5, ban_reason = $6
		WHERE id = $7 AND mesh_id = $8`
	return s.updateOne(ctx, m.MeshID, "update member", mesh.ErrMemberNotFound, query, column.Text(m.DisplayName), string(m.Role),
		column.Groups(m.Groups), column.Millis(m.RemovedAt), column.Grants(m.Grants), column.Ban(&m), uuid(m.ID), uuid(m.MeshID))
}

// updateOne updates one row of a mesh, or returns missing if there is no such row.
func (s *Store) updateOne(ctx context.Context, meshID wire.ID, doing string, missing error, query string, args ...any) error {
	tag, err := s.exec(ctx, []wire.ID{meshID}, query, args...)
	if err == nil && tag.RowsAffected() == 0 {
		err = missing
	}
	return wrap(doing, err)
}
