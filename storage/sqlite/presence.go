package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

const selectPresence = `SELECT ` + column.PresenceColumns + ` FROM presences `

// Presences implements presence.Store.
func (s *Store) Presences(ctx context.Context, meshID wire.ID) ([]presence.Record, error) {
	rows, err := s.read.query(ctx, selectPresence+`WHERE mesh_id = ? AND ended_at IS NULL ORDER BY connected_at, identity`, meshID[:])
	list, err := collect(rows, err, column.ScanRecord)
	return list, wrap("list presences", err)
}

// KnownSessions implements presence.Store.
func (s *Store) KnownSessions(ctx context.Context, meshID wire.ID) ([]presence.Known, error) {
	const query = `SELECT session_key, member_id, display_name FROM presences
		WHERE mesh_id = ? AND proven = 1 AND session_key IS NOT NULL ORDER BY identity`
	rows, err := s.read.query(ctx, query, meshID[:])
	list, err := collect(rows, err, func(r column.Row) (k presence.Known, err error) {
		err = r.Scan(column.IntoKey(&k.SessionKey), column.IntoID(&k.MemberID), &k.DisplayName)
		return k, err
	})
	return list, wrap("list known sessions", err)
}

// LastPresence implements presence.Store.
func (s *Store) LastPresence(ctx context.Context, meshID wire.ID, id presence.Identity) (presence.Record, bool, error) {
	record, err := column.ScanRecord(s.read.row(ctx, selectPresence+`WHERE mesh_id = ? AND identity = ?`,
		meshID[:], column.Text(string(id))))
	if errors.Is(err, sql.ErrNoRows) {
		return presence.Record{}, false, nil
	}
	return record, err == nil, wrap("find presence", err)
}

const prunePresences = `DELETE FROM presences WHERE (mesh_id, identity) IN (
	SELECT p.mesh_id, p.identity FROM presences p
	WHERE p.ended_at < ? AND NOT EXISTS (
		SELECT 1 FROM deliveries d WHERE d.mesh_id = p.mesh_id AND d.mailbox = p.identity AND d.state = 0)
	ORDER BY p.ended_at LIMIT ?)`

// PrunePresences implements presence.Store.
func (s *Store) PrunePresences(ctx context.Context, before time.Time, limit int) (int, error) {
	var n int64
	err := s.update(ctx, func(t tx) (err error) {
		n, err = t.exec(prunePresences, before.UnixMilli(), max(limit, 0))
		return err
	})
	return int(n), wrap("prune presences", err)
}

var (
	putPresences = newBulk(`INSERT INTO presences (`+column.PresenceColumns+`) VALUES `, 30,
		` ON CONFLICT (mesh_id, identity) DO UPDATE SET `+excluded("id", "member_id", "member_key", "session_key",
			"proven", "role", "session_id", "pid", "cwd", "display_name", "hostname", "peer_type", "channel", "model",
			"groups", "summary", "status", "source", "status_at", "visible", "profile", "stats", "connected_at",
			"last_seen_at", "ended_at", "status_reason", "attestation", "sealed_groups"))
	removePresences = newBulk(`DELETE FROM presences WHERE (mesh_id, identity) IN (VALUES `, 2, `)`)
)

// excluded returns SQL that sets columns to the values of the row that conflicted.
func excluded(columns ...string) string {
	var set string
	for i, c := range columns {
		if i > 0 {
			set += ", "
		}
		set += c + " = excluded." + c
	}
	return set
}

func (t tx) putPresences(keep, remove []*presence.Record) error {
	err := t.bulk(putPresences, len(keep), func(args []any, i int) []any {
		p := keep[i]
		return append(args, p.MeshID[:], column.Text(string(p.Identity)), p.ID[:], p.MemberID[:],
			blob(column.Key(p.MemberKey)), blob(column.Key(p.SessionKey)), p.Proven, column.Text(p.Role),
			column.Text(p.SessionID), p.PID, column.Text(p.Cwd), column.Text(p.DisplayName), column.Text(p.Hostname),
			column.Text(p.PeerType), column.Text(p.Channel), column.Text(p.Model), column.Groups(p.Groups),
			column.Text(p.Summary), column.Text(string(p.Status)), int64(p.Source), column.Millis(p.StatusAt), p.Visible,
			column.Profile(p.Profile), column.Stats(p.Stats), column.Millis(p.ConnectedAt),
			column.Millis(p.LastSeenAt), column.Millis(p.EndedAt), column.Text(p.StatusReason),
			blob(p.Attestation.Compact()), p.SealedGroups)
	})
	if err != nil {
		return err
	}
	return t.bulk(removePresences, len(remove), func(args []any, i int) []any {
		return append(args, remove[i].MeshID[:], column.Text(string(remove[i].Identity)))
	})
}
