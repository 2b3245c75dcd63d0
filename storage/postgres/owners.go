package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/wire"
)

// nodeTakes is the condition under which the node n gets meshes: that of cluster.Node's Takes.
const nodeTakes = `n.lease_until > clock_timestamp() AND NOT n.draining AND NOT n.elsewhere AND NOT n.clock_off AND n.address <> ''`

const (
	insertOwner = `INSERT INTO claudemesh.mesh_owners (mesh_id, node_id) VALUES ($1, $2)`
	assignMesh  = `INSERT INTO claudemesh.mesh_owners (mesh_id, node_id)
		SELECT $1, n.id FROM claudemesh.nodes n
		WHERE n.id = $2 AND ` + nodeTakes + `
			AND EXISTS (SELECT FROM claudemesh.meshes m WHERE m.id = $1 OFFSET 0)
		ON CONFLICT (mesh_id) DO NOTHING`
	meshExists = `SELECT EXISTS (SELECT FROM claudemesh.meshes WHERE id = $1)`
	meshOwner  = `SELECT o.node_id FROM claudemesh.mesh_owners o WHERE o.mesh_id = $1
		AND EXISTS (SELECT FROM claudemesh.nodes n WHERE n.id = o.node_id AND n.lease_until > clock_timestamp() OFFSET 0)`
	moveMeshes = `UPDATE claudemesh.mesh_owners o SET node_id = moves_to, moves_to = NULL, since = clock_timestamp()
		WHERE node_id = $1 AND mesh_id = ANY ($2::uuid[]) AND moves_to IS NOT NULL
			AND EXISTS (SELECT FROM claudemesh.nodes n WHERE n.id = o.moves_to AND ` + nodeTakes + ` OFFSET 0)`
	releaseMeshes = `DELETE FROM claudemesh.mesh_owners WHERE node_id = $1 AND mesh_id = ANY ($2::uuid[])`
	ownedMeshes   = `SELECT mesh_id FROM claudemesh.mesh_owners WHERE node_id = $1 AND since <= clock_timestamp() - $2::interval ORDER BY mesh_id`
	askedMeshes   = `SELECT mesh_id FROM claudemesh.mesh_owners WHERE node_id = $1 AND ($2 OR moves_to IS NOT NULL) ORDER BY mesh_id`
	// neglectedMeshes skips from mesh to mesh in the index of what waits.
	neglectedMeshes = `WITH RECURSIVE waiting (mesh_id) AS (
			(SELECT mesh_id FROM claudemesh.deliveries WHERE state = 0 ORDER BY mesh_id LIMIT 1)
			UNION ALL
			SELECT (SELECT d.mesh_id FROM claudemesh.deliveries d WHERE d.state = 0 AND d.mesh_id > waiting.mesh_id ORDER BY d.mesh_id LIMIT 1)
			FROM waiting WHERE waiting.mesh_id IS NOT NULL)
		SELECT mesh_id FROM waiting WHERE mesh_id IS NOT NULL
			AND NOT EXISTS (SELECT FROM claudemesh.mesh_owners o WHERE o.mesh_id = waiting.mesh_id OFFSET 0)
			AND EXISTS (SELECT FROM claudemesh.deliveries d
				CROSS JOIN LATERAL (SELECT FROM claudemesh.messages m
					WHERE m.mesh_id = d.mesh_id AND m.sender_member = d.sender_member AND m.id = d.message_id AND m.created_at < $1 OFFSET 0) m
				WHERE d.mesh_id = waiting.mesh_id AND d.state = 0 OFFSET 0)
		LIMIT $2`
	exclusiveLock = `SELECT pg_advisory_xact_lock($1)`
)

// reapEvery is the pause between searches for nodes whose lease has run out.
const reapEvery = 500 * time.Millisecond

// spareAfter is how long a node spares others after an outage of the database, which ends all leases:
// another node may need as long as that for its next connection.
const spareAfter = reconnectWithin

// errNoNode reports that the store isn't a node of a cluster.
var errNoNode = errors.New("this store is not a node of a cluster")

var _ cluster.Store = (*Store)(nil)

// node returns the lease of a node of a cluster.
func (s *Store) node() (*lease, error) {
	l := s.lease.Load()
	switch {
	case l == nil || !l.shared:
		return nil, errNoNode
	case l.isLost():
		return nil, l.cause
	}
	return l, nil
}

// Self implements cluster.Store.
func (s *Store) Self() (id int64, ok bool) {
	l, err := s.node()
	if err != nil {
		return 0, false
	}
	return l.id, true
}

// Owner implements cluster.Store.
func (s *Store) Owner(ctx context.Context, meshID wire.ID) (node int64, ok bool, err error) {
	err = s.row(ctx, func(r pgx.Row) error { return r.Scan(&node) }, meshOwner, uuid(meshID))
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	return node, err == nil, wrap("find the owner of a mesh", err)
}

// Assign implements cluster.Store.
func (s *Store) Assign(ctx context.Context, meshID wire.ID, node int64) (owner int64, ok bool, err error) {
	l, err := s.node()
	if err != nil {
		return 0, false, wrap("assign a mesh", err)
	}
	if node == l.id { // before the row exists, so that no sweep misses the mesh
		s.fresh.add(meshID)
	}
	ctx, done := s.scope(ctx)
	defer done()
	b := s.batch()
	b.Queue(assignMesh, uuid(meshID), node)
	b.Queue(meshOwner, uuid(meshID)).QueryRow(func(r pgx.Row) error {
		err := r.Scan(&owner)
		ok = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	var exists bool
	b.Queue(meshExists, uuid(meshID)).QueryRow(func(r pgx.Row) error { return r.Scan(&exists) })
	err = s.pool.SendBatch(ctx, b).Close()
	if err == nil && !exists {
		s.fresh.remove([]wire.ID{meshID}) // anybody may ask for meshes that don't exist
		return 0, false, cluster.ErrNoMesh
	}
	return owner, ok && err == nil, wrap("assign a mesh", err)
}

// Release implements cluster.Store.
func (s *Store) Release(ctx context.Context, meshes []wire.ID) error {
	l, err := s.node()
	if err != nil || len(meshes) == 0 {
		return wrap("release meshes", err)
	}
	ctx, done := s.scope(ctx)
	defer done()
	b := &pgx.Batch{}
	b.Queue(exclusiveLock, l.id) // transactions that were let through must end first
	b.Queue(requireLease, l.id)
	list := uuids(meshes, func(id wire.ID) wire.ID { return id })
	b.Queue(moveMeshes, l.id, list)
	b.Queue(releaseMeshes, l.id, list)
	b.Queue(notify)
	if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
		return wrap("release meshes", err)
	}
	s.fresh.remove(meshes)
	return nil
}

// Owned implements cluster.Store.
func (s *Store) Owned(ctx context.Context, since time.Duration) ([]wire.ID, error) {
	l, err := s.node()
	if err != nil {
		return nil, wrap("list own meshes", err)
	}
	list, err := collect(ctx, s, scanID, ownedMeshes, l.id, since)
	return list, wrap("list own meshes", err)
}

// Neglected implements cluster.Store.
func (s *Store) Neglected(ctx context.Context, before time.Time, limit int) ([]wire.ID, error) {
	list, err := collect(ctx, s, scanID, neglectedMeshes, before.UnixMilli(), max(limit, 0))
	return list, wrap("list meshes without an owner", err)
}

// Drain implements cluster.Store.
func (s *Store) Drain(ctx context.Context) error {
	l, err := s.node()
	if err != nil {
		return wrap("drain", err)
	}
	ctx, done := s.scope(ctx)
	defer done()
	b := s.batch()
	b.Queue(`UPDATE claudemesh.nodes SET draining = true WHERE id = $1`, l.id)
	b.Queue(notify)
	return wrap("drain", s.pool.SendBatch(ctx, b).Close())
}

// Elsewhere implements cluster.Store. A change is published by a renewal of the lease at once.
func (s *Store) Elsewhere(is bool) {
	if s.elsewhere.Swap(is) == is {
		return
	}
	if hurry := s.hurry.Load(); hurry != nil {
		(*hurry)()
	}
}

// Draining implements cluster.Store.
func (s *Store) Draining() bool {
	l, err := s.node()
	return err == nil && l.drains.Load()
}

// Asked implements cluster.Store.
func (s *Store) Asked(ctx context.Context) ([]wire.ID, error) {
	l, err := s.node()
	if err != nil {
		return nil, wrap("list meshes to give away", err)
	}
	drains := l.drains.Load()
	if !drains && !l.moves.Load() {
		return nil, nil
	}
	list, err := collect(ctx, s, scanID, askedMeshes, l.id, drains)
	return list, wrap("list meshes to give away", err)
}

// lostMeshes returns the meshes that require_meshes names.
func lostMeshes(e *pgconn.PgError) []wire.ID {
	var list []wire.ID
	for _, text := range strings.Fields(e.Detail) {
		if id, err := wire.ParseID(strings.ReplaceAll(text, "-", "")); err == nil {
			list = append(list, id)
		}
	}
	return list
}

// startReaper removes nodes whose lease has run out, until stop is called.
func (s *Store) startReaper(l *lease) (stop func()) {
	ctx, cancel := context.WithCancel(s.life)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(reapEvery):
			}
			// A failure shows in the renewals too, and this tries again soon.
			_ = s.reap(ctx, l)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// reap removes the nodes that live no more, which frees their meshes.
func (s *Store) reap(ctx context.Context, l *lease) error {
	if s.Claimed() != nil || l.spares() {
		return nil //nolint:nilerr // this node may be one of them
	}
	asked := system.Uptime()
	nodes, err := s.watched(ctx, s.pool, nodeLeases)
	if err != nil || system.Uptime()-asked > renewWithin { // the database was away meanwhile
		return err
	}
	i := slices.IndexFunc(nodes, func(n cluster.Node) bool { return n.ID == l.id })
	if i < 0 || !nodes[i].Live || nodes[i].Renewals > l.count.Load() || l.spares() {
		return nil // this node may be about to learn that its own lease had run out
	}
	var errs []error
	for _, n := range nodes {
		if n.Live || n.ID == l.id {
			continue
		}
		errs = append(errs, pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, requireLease, l.id); err != nil {
				return err
			}
			return s.remove(ctx, tx, n)
		}))
	}
	return errors.Join(errs...)
}

// meshSet is a set of meshes.
type meshSet struct {
	mu     sync.Mutex
	meshes map[wire.ID]struct{}
}

func (m *meshSet) add(id wire.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meshes == nil {
		m.meshes = make(map[wire.ID]struct{})
	}
	m.meshes[id] = struct{}{}
}

func (m *meshSet) remove(ids []wire.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		delete(m.meshes, id)
	}
}

func (m *meshSet) list() []wire.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	ids := make([]wire.ID, 0, len(m.meshes))
	for id := range m.meshes {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b wire.ID) int { return bytes.Compare(a[:], b[:]) })
	return ids
}
