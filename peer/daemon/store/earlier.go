package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/wire"
)

// Earlier is a session that a process ran earlier and whose end it has not reported. The hook
// that reports a clear may run minutes after the next session has started.
type Earlier struct {
	Process process.Number
	Session Session
}

// putEarlier writes that a process ran a session, and keeps only the last few.
func putEarlier(ctx context.Context, tx *sql.Tx, n process.Number, f *Session) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO earlier (domain, pid, session_id, facts) VALUES (?, ?, ?, ?)`,
		n.Domain, n.PID, f.ID, string(text)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM earlier WHERE domain = ?1 AND pid = ?2 AND seq NOT IN
		(SELECT seq FROM earlier WHERE domain = ?1 AND pid = ?2 ORDER BY seq DESC LIMIT ?3)`, n.Domain, n.PID, wire.MaxSuccessions)
	return err
}

// EarlierSessions returns the earlier sessions of all processes, in the order in which each
// process ran them.
func (s *Store) EarlierSessions(ctx context.Context) ([]Earlier, error) {
	return collect(ctx, s.db, "read earlier sessions", func(r *sql.Rows, e *Earlier) error {
		var text string
		if err := r.Scan(&e.Process.Domain, &e.Process.PID, &text); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &e.Session); err != nil {
			return fmt.Errorf("session: %w", err)
		}
		return nil
	}, `SELECT domain, pid, facts FROM earlier ORDER BY seq`)
}

// ForgetEarlier records that a process has reported how one of its earlier sessions ended.
func (s *Store) ForgetEarlier(ctx context.Context, n process.Number, session string) error {
	return s.exec(ctx, "forget earlier session", `DELETE FROM earlier WHERE domain = ? AND pid = ? AND session_id = ?`, n.Domain, n.PID, session)
}
