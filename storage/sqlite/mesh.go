package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	insertMesh   = `INSERT INTO meshes (` + column.MeshColumns + `) VALUES (?,?,?,?,?)`
	insertMember = `INSERT INTO members (` + column.MemberColumns + `) VALUES (?,?,?,?,?,?,?,?,?,?)`
	insertInvite = `INSERT INTO invites (` + column.InviteColumns + `) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`
	selectMember = `SELECT ` + column.MemberColumns + ` FROM members `
	selectInvite = `SELECT ` + column.InviteColumns + ` FROM invites `
)

// CreateMesh implements mesh.Store. It returns mesh.ErrExists if the mesh or the member
// already exists.
func (s *Store) CreateMesh(ctx context.Context, m mesh.Mesh, owner mesh.Member) error {
	err := s.update(ctx, func(t tx) error {
		_, err := t.exec(insertMesh, m.ID[:], column.Text(m.Slug), column.Text(m.Name), blob(column.Key(m.Owner)),
			column.Millis(m.CreatedAt))
		if err != nil {
			return err
		}
		return t.insertMember(owner)
	})
	if violated(err, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE) {
		return fmt.Errorf("create mesh: %w", mesh.ErrExists)
	}
	return wrap("create mesh", err)
}

func (t tx) insertMember(m mesh.Member) error {
	_, err := t.exec(insertMember, m.ID[:], m.MeshID[:], blob(column.Key(m.Key)), column.Text(m.DisplayName),
		string(m.Role), column.Groups(m.Groups), column.Millis(m.JoinedAt), column.Millis(m.RemovedAt),
		column.Grants(m.Grants), column.Ban(&m))
	return err
}

// Mesh implements mesh.Store.
func (s *Store) Mesh(ctx context.Context, id wire.ID) (mesh.Mesh, []mesh.Member, error) {
	m, err := column.ScanMesh(s.read.row(ctx, `SELECT `+column.MeshColumns+` FROM meshes WHERE id = ?`, id[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return mesh.Mesh{}, nil, mesh.ErrMeshNotFound
	}
	if err != nil {
		return mesh.Mesh{}, nil, wrap("load mesh", err)
	}
	// Read the members after the mesh: a mesh is never deleted, and its members never
	// become fewer.
	rows, err := s.read.query(ctx, selectMember+`WHERE mesh_id = ? ORDER BY joined_at, id`, id[:])
	members, err := collect(rows, err, column.ScanMember)
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
	err := s.update(ctx, func(t tx) error {
		_, err := t.exec(insertInvite, v.ID[:], v.MeshID[:], string(v.Kind), column.NullText(v.Code),
			blob(column.Key(v.ClaimKey)), column.Text(v.SealedRootKey), blob(hash), string(v.Role),
			column.Groups(v.Groups), v.Uses, v.Used, column.Millis(v.ExpiresAt), column.Millis(v.CreatedAt),
			v.CreatedBy[:], column.Millis(v.RevokedAt))
		return err
	})
	switch {
	case violated(err, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE):
		return fmt.Errorf("add invite: %w", mesh.ErrExists)
	case violated(err, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY):
		return fmt.Errorf("add invite: %w", mesh.ErrMeshNotFound)
	}
	return wrap("add invite", err)
}

// InviteByCode implements mesh.Store.
func (s *Store) InviteByCode(ctx context.Context, code string) (mesh.Invite, error) {
	return invite(s.read.row(ctx, selectInvite+`WHERE code = ?`, column.Text(code)))
}

// InviteByToken implements mesh.Store.
func (s *Store) InviteByToken(ctx context.Context, hash [32]byte) (mesh.Invite, error) {
	return invite(s.read.row(ctx, selectInvite+`WHERE token_hash = ?`, hash[:]))
}

func invite(row column.Row) (mesh.Invite, error) {
	v, err := column.ScanInvite(row)
	if errors.Is(err, sql.ErrNoRows) {
		return mesh.Invite{}, mesh.ErrInviteNotFound
	}
	return v, wrap("find invite", err)
}

// Invites implements mesh.Store.
func (s *Store) Invites(ctx context.Context, meshID wire.ID) ([]mesh.Invite, error) {
	rows, err := s.read.query(ctx, selectInvite+`WHERE mesh_id = ? ORDER BY created_at DESC, id DESC LIMIT 500`, meshID[:])
	list, err := collect(rows, err, column.ScanInvite)
	return list, wrap("list invites", err)
}

// RevokeInvite implements mesh.Store.
func (s *Store) RevokeInvite(ctx context.Context, meshID, inviteID wire.ID, at time.Time) error {
	const query = `UPDATE invites SET revoked_at = coalesce(revoked_at, ?) WHERE id = ? AND mesh_id = ?`
	return s.updateOne(ctx, "revoke invite", mesh.ErrInviteNotFound, query, column.Millis(at), inviteID[:], meshID[:])
}

// UpdateMember implements mesh.Store.
func (s *Store) UpdateMember(ctx context.Context, m mesh.Member) error {
	const query = `UPDATE members SET display_name = ?, role = ?, groups = ?, removed_at = ?, grants = ?, ban_reason = ? WHERE id = ? AND mesh_id = ?`
	return s.updateOne(ctx, "update member", mesh.ErrMemberNotFound, query, column.Text(m.DisplayName), string(m.Role),
		column.Groups(m.Groups), column.Millis(m.RemovedAt), column.Grants(m.Grants), column.Ban(&m), m.ID[:], m.MeshID[:])
}

// updateOne updates one row, or returns missing if there is no such row.
func (s *Store) updateOne(ctx context.Context, doing string, missing error, query string, args ...any) error {
	return wrap(doing, s.update(ctx, func(t tx) error {
		n, err := t.exec(query, args...)
		if err == nil && n == 0 {
			err = missing
		}
		return err
	}))
}

// blob returns a value for a BLOB column: NULL, rather than an empty blob, for no bytes.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// violated reports whether err has one of SQLite's extended result codes.
func violated(err error, codes ...int) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, code := range codes {
		if e.Code() == code {
			return true
		}
	}
	return false
}
