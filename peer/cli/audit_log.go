package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/checkpoints"
	"github.com/claudemesh/claudemesh/wire"
)

// auditLog is the log of a mesh, with the checkpoints that it must agree with.
type auditLog struct {
	client *peer.Client
	mesh   peer.Mesh
	meshID wire.ID
	book   checkpoints.Book
	shown  *wire.Checkpoints // by the broker, at this connect; nil if it shows none
	found  *audit.Comparison // compares shown with the kept checkpoints
	kept   checkpoints.Record

	verifier string
	base     audit.Head           // the stored entries begin after it
	signed   map[int64]signedHead // by their size
}

type signedHead struct {
	hash audit.Hash
	note string
}

var errNoAuditLog = errors.New("audit: the broker of this mesh doesn't keep an audit log")

// openAudit connects to the chosen mesh, and compares the broker's checkpoints with those that
// this machine has kept. The caller closes the client.
func (a *app) openAudit(ctx context.Context) (*auditLog, error) {
	m, err := a.joined()
	if err != nil {
		return nil, err
	}
	id, err := wire.ParseID(m.MeshID)
	if err != nil {
		return nil, errNoAuditLog
	}
	log := &auditLog{mesh: m, meshID: id, book: checkpoints.Open(a.dir), signed: make(map[int64]signedHead)}
	before, err := log.book.Record(id)
	if err != nil {
		return nil, err
	}
	progress := a.waiting("connecting to the broker at " + oneLine(m.BrokerURL))
	defer progress.done()
	o, w := a.visitor(m), a.witness(m)
	o.Checkpoints = w
	if log.client, err = a.dial(ctx, o); err != nil {
		return nil, err
	}
	log.shown, log.found = w.Last()
	if log.kept, err = log.book.Record(id); err != nil {
		log.client.Close()
		return nil, err
	}
	if log.verifier = before.Verifier; log.verifier == "" && log.shown != nil {
		log.verifier = log.shown.Verifier
	}
	if log.kept.Doubt == nil {
		// If there is a doubt, the user has been warned, and may still read the log.
		log.expect(before.Checkpoint)
	}
	if log.shown != nil {
		log.expect(log.shown.Newest)
		if log.base, err = audit.OpenCheckpoint(log.verifier, id, log.shown.Pruned); err != nil {
			log.base = audit.Head{}
		}
	}
	return log, nil
}

// expect requires that the entries agree with a checkpoint. It ignores an invalid one.
func (l *auditLog) expect(signed string) {
	head, err := audit.OpenCheckpoint(l.verifier, l.meshID, signed)
	if _, ok := l.signed[head.Seq]; err == nil && !ok && head.Seq > 0 {
		l.signed[head.Seq] = signedHead{head.Hash, signed}
	}
}

// check verifies rows that follow head, and that they agree with the signed checkpoints.
func (l *auditLog) check(head audit.Head, rows []wire.AuditRow) (audit.Head, error) {
	entries := make([]audit.Entry, len(rows))
	for i := range rows {
		e, err := audit.FromRow(l.meshID, rows[i])
		if err != nil {
			return head, err
		}
		if want, ok := l.signed[e.Seq]; ok && e.Hash != want.hash {
			return head, &audit.ContradictionError{Seq: e.Seq, Hash: e.Hash, Note: want.note}
		}
		entries[i] = e
	}
	return audit.Verify(l.meshID, head, entries)
}

// each reads the log from after the given entry to its end, a page at a time.
func (l *auditLog) each(ctx context.Context, after int64, page func([]wire.AuditRow) error) error {
	for {
		rows, err := l.client.Audit(ctx, wire.AuditQuery{After: after, Limit: auditPage})
		if err != nil || len(rows) == 0 {
			return err
		}
		if err := page(rows); err != nil {
			return err
		}
		after = rows[len(rows)-1].Seq
	}
}

// witness keeps the checkpoints of a mesh's log. It returns nil if the mesh has none.
func (a *app) witness(m peer.Mesh) *checkpoints.Witness {
	id, err := wire.ParseID(m.MeshID)
	if err != nil {
		return nil
	}
	return checkpoints.Open(a.dir).Witness(id, func(*audit.Comparison, error) {})
}

// warnOfDoubt warns if there is reason to doubt the audit log of a mesh.
func (a *app) warnOfDoubt(m peer.Mesh, record checkpoints.Record, found *audit.Comparison) {
	switch {
	case found != nil && found.Outcome == audit.Restored:
		fmt.Fprintf(a.err, "note: mesh %s: %s\n", oneLine(m.Slug), oneLine(checkpoints.Text(found)))
	case record.Doubt != nil:
		fmt.Fprintf(a.err, "warning: mesh %s: %s; %s\n", oneLine(m.Slug), oneLine(checkpoints.Text(&record.Doubt.Comparison)),
			copyable("`claudemesh audit verify` shows the two notes"))
	case found != nil && !found.Outcome.OK():
		fmt.Fprintf(a.err, "warning: mesh %s: %s\n", oneLine(m.Slug), oneLine(checkpoints.Text(found)))
	}
}
