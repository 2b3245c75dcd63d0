package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// rank orders the states that a recipient reports. A late report of a lower state says nothing
// new.
const rank = `CASE %s WHEN 'delivered' THEN 1 WHEN 'refused' THEN 2 WHEN 'in_context' THEN 3 ELSE 0 END`

// Report is what a recipient has signed.
type Report struct {
	Key    wire.Key
	State  local.State
	Reason string
	At     time.Time
}

// maxRecipients limits how many keys may confirm one message.
const maxRecipients = 1000

// AddReport records what a recipient reports about a message.
func (s *Store) AddReport(ctx context.Context, id string, h Report) error {
	return s.exec(ctx, "note confirmation", `
		INSERT INTO recipient (outbox_id, key, state, reason, at)
		SELECT ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM recipient WHERE outbox_id = ?) < ?
		ON CONFLICT (outbox_id, key) DO UPDATE SET state = excluded.state, reason = excluded.reason, at = excluded.at
		WHERE `+fmt.Sprintf(rank, "excluded.state")+` > `+fmt.Sprintf(rank, "recipient.state"),
		id, h.Key.String(), string(h.State), h.Reason, h.At.UnixMilli(), id, maxRecipients)
}

// Reports returns what recipients have signed for a message, the furthest state first.
func (s *Store) Reports(ctx context.Context, id string) ([]Report, error) {
	return collect(ctx, s.db, "read confirmations", func(r *sql.Rows, h *Report) error {
		var key string
		var at int64
		if err := r.Scan(&key, &h.State, &h.Reason, &at); err != nil {
			return err
		}
		h.At = time.UnixMilli(at).UTC()
		var err error
		h.Key, err = wire.ParseKey(key)
		return err
	}, `SELECT key, state, reason, at FROM recipient WHERE outbox_id = ? ORDER BY `+fmt.Sprintf(rank, "state")+` DESC, at, key`, id)
}

// Confirmation is a report that a sender has yet to receive.
type Confirmation struct {
	Seq             int64
	MeshID, Session string
	Sender          wire.Key
	peer.Confirmed
}

// AddConfirmations stores confirmations for senders. Those already stored stay unchanged.
func (s *Store) AddConfirmations(ctx context.Context, list ...Confirmation) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		for i := range list {
			c := &list[i]
			if _, err := tx.ExecContext(ctx, `
				INSERT INTO confirmation (mesh_id, session_id, sender, id, state, reason, at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
				c.MeshID, c.Session, c.Sender.String(), c.ClientID, string(c.State), c.Reason, c.At.UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store confirmation: %w", err)
	}
	return nil
}

// NextConfirmations returns the oldest confirmation that a session owes a sender in a mesh, and
// the others that it owes the same sender. If session is "", the member owes them, or a session
// that has ended.
func (s *Store) NextConfirmations(ctx context.Context, mesh, session string) ([]Confirmation, error) {
	return collect(ctx, s.db, "read confirmations", func(r *sql.Rows, c *Confirmation) error {
		var sender string
		var at int64
		if err := r.Scan(&c.Seq, &c.MeshID, &c.Session, &sender, &c.ClientID, &c.State, &c.Reason, &at); err != nil {
			return err
		}
		c.At = time.UnixMilli(at)
		var err error
		c.Sender, err = wire.ParseKey(sender)
		return err
	}, `WITH owed AS (SELECT * FROM confirmation WHERE mesh_id = ?1
			AND (session_id = ?2 OR ?2 = '' AND session_id NOT IN (SELECT id FROM session)))
		SELECT seq, mesh_id, session_id, sender, id, state, reason, at FROM owed
		WHERE sender = (SELECT sender FROM owed ORDER BY seq LIMIT 1) ORDER BY seq LIMIT 100`, mesh, session)
}

// RemoveConfirmations removes confirmations that their sender has received.
func (s *Store) RemoveConfirmations(ctx context.Context, list []Confirmation) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		for i := range list {
			if _, err := tx.ExecContext(ctx, `DELETE FROM confirmation WHERE seq = ?`, list[i].Seq); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget confirmations: %w", err)
	}
	return nil
}

// MoveConfirmations moves the confirmations that a session owes to its successor.
func (s *Store) MoveConfirmations(ctx context.Context, from, to string) error {
	return s.exec(ctx, "hand over confirmations", `UPDATE OR REPLACE confirmation SET session_id = ? WHERE session_id = ?`, to, from)
}
