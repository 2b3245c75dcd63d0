package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	selectPresence = `SELECT ` + column.PresenceColumns + ` FROM claudemesh.presences `
	livePresences  = selectPresence + `WHERE mesh_id = $1 AND ended_at IS NULL ORDER BY connected_at, identity`
	knownSessions  = `SELECT session_key, member_id, display_name FROM claudemesh.presences
		WHERE mesh_id = $1 AND proven AND session_key IS NOT NULL ORDER BY identity`
	prunePresences = `WITH old AS (
			SELECT p.ctid FROM claudemesh.presences p
			WHERE ` + myTurn + ` AND p.ended_at < $1 AND NOT EXISTS (SELECT FROM claudemesh.deliveries d
				WHERE d.mesh_id = p.mesh_id AND d.mailbox = p.identity AND d.state = 0 OFFSET 0)
			ORDER BY p.ended_at LIMIT $2)
		DELETE FROM claudemesh.presences WHERE ctid = ANY (ARRAY (SELECT ctid FROM old))`
	putPresences = `INSERT INTO claudemesh.presences (` + column.PresenceColumns + `)
		SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::bytea[], $6::bytea[], $7::boolean[],
			$8::text[], $9::text[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
			$16::text[], $17::text[], $18::text[], $19::text[], $20::smallint[], $21::bigint[], $22::boolean[],
			$23::text[], $24::text[], $25::bigint[], $26::bigint[], $27::bigint[],
			$28::text[], $29::bytea[], $30::boolean[])
		ON CONFLICT (mesh_id, identity) DO UPDATE SET
			id = excluded.id, member_id = excluded.member_id, member_key = excluded.member_key,
			session_key = excluded.session_key, proven = excluded.proven, role = excluded.role,
			session_id = excluded.session_id, pid = excluded.pid, cwd = excluded.cwd,
			display_name = excluded.display_name, hostname = excluded.hostname, peer_type = excluded.peer_type,
			channel = excluded.channel, model = excluded.model, groups = excluded.groups, summary = excluded.summary,
			status = excluded.status, source = excluded.source, status_at = excluded.status_at,
			visible = excluded.visible, profile = excluded.profile, stats = excluded.stats,
			connected_at = excluded.connected_at, last_seen_at = excluded.last_seen_at, ended_at = excluded.ended_at,
			status_reason = excluded.status_reason, attestation = excluded.attestation,
			sealed_groups = excluded.sealed_groups`
	removePresences = `DELETE FROM claudemesh.presences WHERE ctid = ANY (ARRAY (
		SELECT p.ctid FROM unnest($1::uuid[], $2::text[]) AS gone (mesh_id, identity)
		CROSS JOIN LATERAL (SELECT p.ctid FROM claudemesh.presences p
			WHERE p.mesh_id = gone.mesh_id AND p.identity = gone.identity LIMIT 1) p))`
)

// Presences implements presence.Store.
func (s *Store) Presences(ctx context.Context, meshID wire.ID) ([]presence.Record, error) {
	list, err := collect(ctx, s, column.ScanRecord, livePresences, uuid(meshID))
	return list, wrap("list presences", err)
}

// KnownSessions implements presence.Store.
func (s *Store) KnownSessions(ctx context.Context, meshID wire.ID) ([]presence.Known, error) {
	list, err := collect(ctx, s, func(r column.Row) (k presence.Known, err error) {
		err = r.Scan(column.IntoKey(&k.SessionKey), column.IntoID(&k.MemberID), &k.DisplayName)
		return k, err
	}, knownSessions, uuid(meshID))
	return list, wrap("list known sessions", err)
}

// LastPresence implements presence.Store.
func (s *Store) LastPresence(ctx context.Context, meshID wire.ID, id presence.Identity) (p presence.Record, ok bool, err error) {
	err = s.row(ctx, func(r pgx.Row) error { p, err = column.ScanRecord(r); return err },
		selectPresence+`WHERE mesh_id = $1 AND identity = $2`, uuid(meshID), column.Text(string(id)))
	if errors.Is(err, pgx.ErrNoRows) {
		return presence.Record{}, false, nil
	}
	return p, err == nil, wrap("find presence", err)
}

// PrunePresences implements presence.Store.
func (s *Store) PrunePresences(ctx context.Context, before time.Time, limit int) (int, error) {
	ctx, done, err := s.exclusive(ctx)
	if err != nil {
		return 0, wrap("prune presences", err)
	}
	defer done()
	var n int64
	b := s.batch()
	b.Queue(prunePresences, before.UnixMilli(), max(limit, 0)).Exec(counting(&n))
	err = s.pool.SendBatch(ctx, b).Close()
	return int(n), wrap("prune presences", err)
}

// queuePresences adds the statements that store and delete records.
func queuePresences(b *pgx.Batch, keep, remove []*presence.Record) {
	type record = *presence.Record
	if len(keep) > 0 {
		b.Queue(putPresences,
			uuids(keep, func(p record) wire.ID { return p.MeshID }),
			texts(keep, func(p record) string { return string(p.Identity) }),
			uuids(keep, func(p record) wire.ID { return p.ID }),
			uuids(keep, func(p record) wire.ID { return p.MemberID }),
			keys(keep, func(p record) wire.Key { return p.MemberKey }),
			keys(keep, func(p record) wire.Key { return p.SessionKey }),
			booleans(keep, func(p record) bool { return p.Proven }),
			texts(keep, func(p record) string { return p.Role }),
			texts(keep, func(p record) string { return p.SessionID }),
			bigints(keep, func(p record) int64 { return p.PID }),
			texts(keep, func(p record) string { return p.Cwd }),
			texts(keep, func(p record) string { return p.DisplayName }),
			texts(keep, func(p record) string { return p.Hostname }),
			texts(keep, func(p record) string { return p.PeerType }),
			texts(keep, func(p record) string { return p.Channel }),
			texts(keep, func(p record) string { return p.Model }),
			texts(keep, func(p record) string { return column.Groups(p.Groups) }),
			texts(keep, func(p record) string { return p.Summary }),
			texts(keep, func(p record) string { return string(p.Status) }),
			smallints(keep, func(p record) int16 { return int16(p.Source) }),
			times(keep, func(p record) time.Time { return p.StatusAt }),
			booleans(keep, func(p record) bool { return p.Visible }),
			nullTexts(keep, func(p record) *string { return column.Profile(p.Profile) }),
			nullTexts(keep, func(p record) *string { return column.Stats(p.Stats) }),
			times(keep, func(p record) time.Time { return p.ConnectedAt }),
			times(keep, func(p record) time.Time { return p.LastSeenAt }),
			times(keep, func(p record) time.Time { return p.EndedAt }),
			texts(keep, func(p record) string { return p.StatusReason }),
			blobs(keep, func(p record) []byte { return p.Attestation.Compact() }),
			booleans(keep, func(p record) bool { return p.SealedGroups }))
	}
	if len(remove) > 0 {
		b.Queue(removePresences,
			uuids(remove, func(p record) wire.ID { return p.MeshID }),
			texts(remove, func(p record) string { return string(p.Identity) }))
	}
}
