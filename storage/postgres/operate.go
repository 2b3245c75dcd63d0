package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/storage/internal/column"
	"github.com/claudemesh/claudemesh/wire"
)

// The methods of this file are for an operator's commands, which aren't nodes themselves. They
// write what nodes are asked to do; a node reads that when it renews its lease.

const (
	setDraining = `UPDATE claudemesh.nodes SET draining = $2 WHERE id = $1`
	othersTake  = `SELECT EXISTS (SELECT FROM claudemesh.nodes n WHERE n.id <> $1 AND ` + nodeTakes + `)`
	holdings    = `SELECT o.mesh_id, o.node_id, m.slug, m.name
		FROM claudemesh.mesh_owners o JOIN claudemesh.meshes m ON m.id = o.mesh_id ORDER BY o.since DESC, o.mesh_id`
	moving    = `SELECT count(*) FROM claudemesh.mesh_owners WHERE moves_to IS NOT NULL`
	askToMove = `UPDATE claudemesh.mesh_owners o SET moves_to = m.target
		FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS m (mesh, source, target)
		WHERE o.mesh_id = m.mesh AND o.node_id = m.source AND EXISTS (SELECT FROM claudemesh.nodes n WHERE n.id = m.target OFFSET 0)`
)

// ErrNodeGone reports that a node has left the cluster.
var ErrNodeGone = errors.New("the node has left the cluster")

// ErrNoTaker reports that no other node would take the meshes of a node.
var ErrNoTaker = errors.New("no other node takes meshes")

// SetDraining asks a node to give all of its meshes away and to take no more, or takes that
// back. It returns ErrNodeGone if there is no such node, and ErrNoTaker if it is the last one that
// takes meshes: of two operators who drain the last two nodes at once, one gets ErrNoTaker.
func (s *Store) SetDraining(ctx context.Context, node int64, draining bool) error {
	ctx, done := s.scope(ctx)
	defer done()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return wrap("drain a node", err)
	}
	defer conn.Release()
	return wrap("drain a node", locked(ctx, conn.Conn(), func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, setDraining, node, draining)
		if err == nil && tag.RowsAffected() == 0 {
			err = ErrNodeGone
		}
		others := true
		if err == nil && draining {
			err = tx.QueryRow(ctx, othersTake, node).Scan(&others)
		}
		switch {
		case err != nil:
			return err
		case !others:
			return ErrNoTaker
		}
		return announce(ctx, tx)
	}))
}

// announceNow tells the nodes of a change.
func (s *Store) announceNow(ctx context.Context) error {
	_, err := s.exec(ctx, nil, notify)
	return err
}

// Holding is a mesh that a node owns.
type Holding struct {
	Mesh       wire.ID
	Node       int64
	Slug, Name string
}

// Holdings lists the meshes that have owners, the most recently assigned first.
func (s *Store) Holdings(ctx context.Context) ([]Holding, error) {
	list, err := collect(ctx, s, func(r column.Row) (h Holding, err error) {
		return h, r.Scan(column.IntoID(&h.Mesh), &h.Node, &h.Slug, &h.Name)
	}, holdings)
	return list, wrap("list the owners of meshes", err)
}

// Move asks nodes to give meshes to other nodes. It skips a move if the mesh has another owner
// meanwhile, or if the target has left the cluster.
func (s *Store) Move(ctx context.Context, moves []cluster.Move) error {
	var sources, targets []int64
	for _, m := range moves {
		sources, targets = append(sources, m.From), append(targets, m.To)
	}
	_, err := s.exec(ctx, nil, askToMove, uuids(moves, func(m cluster.Move) wire.ID { return m.Mesh }), sources, targets)
	if err != nil {
		return wrap(fmt.Sprintf("move %d meshes", len(moves)), err)
	}
	return wrap("move meshes", s.announceNow(ctx))
}

// Moving returns the number of meshes that their owners have not given to the target yet.
func (s *Store) Moving(ctx context.Context) (n int, err error) {
	err = s.row(ctx, func(r pgx.Row) error { return r.Scan(&n) }, moving)
	return n, wrap("count the meshes that move", err)
}
