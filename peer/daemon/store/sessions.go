package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/wire"
)

// Session is what the store knows about a session, apart from its connections.
type Session struct {
	ID, Cwd, Name, Role, Title, Model string
	ConfigDir                         string // of Claude Code; "" for the usual one
	Groups                            []wire.Group
	Summary                           string
	DND                               bool
	Edits                             GroupEdits
	Since, Active                     time.Time
	Meshes                            []string // ids
	Trial                             bool     // not on disk, since a trial lasts only moments
}

// GroupEdits are the groups that a session has joined and left since its registration. The
// daemon repeats them at every connect.
type GroupEdits struct {
	Joined map[string]string `json:"joined,omitempty"` // name → role
	Left   map[string]bool   `json:"left,omitempty"`
}

// Process is a process as stored on disk.
type Process struct {
	process.ID
	Token, SessionID string
	Cleared          bool // it reported that a clear ended the session
}

// Clone returns a deep copy of s.
func (s *Session) Clone() Session {
	c := *s
	c.Groups, c.Meshes = slices.Clone(s.Groups), slices.Clone(s.Meshes)
	c.Edits = GroupEdits{maps.Clone(s.Edits.Joined), maps.Clone(s.Edits.Left)}
	return c
}

// PutSession writes a session and its meshes.
func (s *Store) PutSession(ctx context.Context, f *Session) error {
	err := s.change(ctx, func(tx *sql.Tx) error { return putSession(ctx, tx, f) })
	if err != nil {
		return fmt.Errorf("store session: %w", err)
	}
	return nil
}

func putSession(ctx context.Context, tx *sql.Tx, f *Session) error {
	groups, err := json.Marshal(f.Groups)
	if err != nil {
		return err
	}
	edits, err := json.Marshal(f.Edits)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO session (id, cwd, name, role, groups, title, model, summary, dnd, edits, since, active, config_dir)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET cwd = excluded.cwd, name = excluded.name, role = excluded.role, groups = excluded.groups,
			title = excluded.title, model = excluded.model, summary = excluded.summary, dnd = excluded.dnd, edits = excluded.edits, active = excluded.active, config_dir = excluded.config_dir`,
		f.ID, f.Cwd, f.Name, f.Role, string(groups), f.Title, f.Model, f.Summary, f.DND, string(edits), f.Since.UnixMilli(), f.Active.UnixMilli(), f.ConfigDir)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM session_mesh WHERE session_id = ?`, f.ID); err != nil {
		return err
	}
	for _, mesh := range f.Meshes {
		if _, err := tx.ExecContext(ctx, `INSERT INTO session_mesh (session_id, mesh_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, f.ID, mesh); err != nil {
			return err
		}
	}
	return nil
}

// Registration is what changes on disk when a process starts to run a session.
type Registration struct {
	Session *Session
	Process Process
	Ended   string              // the process's previous session if it is over, else ""
	Formers map[string][]string // by mesh, the sessions that this one succeeds
	Untold  *Session            // the ended session if its end was not reported, else nil
}

// Register writes a registration in one transaction.
func (s *Store) Register(ctx context.Context, r *Registration, now time.Time) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		if err := errors.Join(putSession(ctx, tx, r.Session), putKnown(ctx, tx, r.Session, now)); err != nil {
			return err
		}
		if err := putProcess(ctx, tx, r.Process); err != nil {
			return err
		}
		if r.Untold != nil {
			if err := putEarlier(ctx, tx, r.Process.Number, r.Untold); err != nil {
				return err
			}
		}
		return errors.Join(putFormers(ctx, tx, r.Session.ID, r.Formers, r.Ended, now), removeSession(ctx, tx, r.Ended))
	})
	if err != nil {
		return fmt.Errorf("store registration: %w", err)
	}
	return nil
}

// putKnown keeps the name, role and groups of a session beyond its end.
func putKnown(ctx context.Context, tx *sql.Tx, f *Session, now time.Time) error {
	if f.Trial || f.Name == "" && f.Role == "" && len(f.Groups) == 0 {
		return nil
	}
	groups, err := json.Marshal(f.Groups)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO known (session_id, name, role, groups, at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (session_id) DO UPDATE SET name = excluded.name, role = excluded.role, groups = excluded.groups, at = excluded.at`,
		f.ID, f.Name, f.Role, string(groups), now.UnixMilli())
	return err
}

// Recall fills in the name, role and groups that a session had when it last ran.
func (s *Store) Recall(ctx context.Context, f *Session) error {
	var groups string
	err := s.db.QueryRowContext(ctx, `SELECT name, role, groups FROM known WHERE session_id = ?`, f.ID).Scan(&f.Name, &f.Role, &groups)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(groups), &f.Groups)
	}
	if err != nil {
		return fmt.Errorf("recall session: %w", err)
	}
	return nil
}

// ForgetKnown deletes what Recall would fill in.
func (s *Store) ForgetKnown(ctx context.Context, session string) error {
	return s.exec(ctx, "forget session", `DELETE FROM known WHERE session_id = ?`, session)
}

// PutProcess writes which session a process runs.
func (s *Store) PutProcess(ctx context.Context, p Process) error {
	err := s.change(ctx, func(tx *sql.Tx) error { return putProcess(ctx, tx, p) })
	if err != nil {
		return fmt.Errorf("store process: %w", err)
	}
	return nil
}

func putProcess(ctx context.Context, tx *sql.Tx, p Process) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO process (domain, pid, start, token, session_id, cleared) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (domain, pid) DO UPDATE SET start = excluded.start, token = excluded.token, session_id = excluded.session_id, cleared = excluded.cleared`,
		p.Domain, p.PID, p.Start, p.Token, p.SessionID, p.Cleared)
	return err
}

// PutSuccessor records that a live session succeeds one that has already ended.
func (s *Store) PutSuccessor(ctx context.Context, f *Session, formers map[string][]string, over string) error {
	now := time.Now()
	err := s.change(ctx, func(tx *sql.Tx) error {
		return errors.Join(putSession(ctx, tx, f), putKnown(ctx, tx, f, now), putFormers(ctx, tx, f.ID, formers, over, now))
	})
	if err != nil {
		return fmt.Errorf("store succession: %w", err)
	}
	return nil
}

// putFormers writes, by mesh, the sessions that a session succeeds. It also records that the
// session inherits the mail of the ended session over. It writes nothing if formers is empty.
func putFormers(ctx context.Context, tx *sql.Tx, session string, formers map[string][]string, over string, now time.Time) error {
	for mesh, list := range formers {
		if _, err := tx.ExecContext(ctx, `DELETE FROM succession WHERE mesh_id = ? AND session_id = ?`, mesh, session); err != nil {
			return err
		}
		for i, former := range list {
			if _, err := tx.ExecContext(ctx, `INSERT INTO succession (mesh_id, session_id, position, former_id, at) VALUES (?, ?, ?, ?, ?)`,
				mesh, session, i, former, now.UnixMilli()); err != nil {
				return err
			}
		}
	}
	if len(formers) == 0 {
		return nil
	}
	for _, change := range []string{
		`DELETE FROM handover WHERE former_id = ?2`, // the session has returned and keeps its own mail
		`INSERT INTO handover (former_id, session_id) VALUES (?1, ?2) ON CONFLICT (former_id) DO UPDATE SET session_id = excluded.session_id`,
		`UPDATE handover SET session_id = ?2 WHERE session_id = ?1`, // mail that over has yet to inherit
	} {
		if _, err := tx.ExecContext(ctx, change, over, session); err != nil {
			return err
		}
	}
	return nil
}

// Handover passes the mail of a session to its successor.
type Handover struct{ From, To string }

// Handovers returns the hand-overs that are not known to be complete.
func (s *Store) Handovers(ctx context.Context) ([]Handover, error) {
	return collect(ctx, s.db, "read hand-overs", func(r *sql.Rows, h *Handover) error { return r.Scan(&h.From, &h.To) },
		`SELECT former_id, session_id FROM handover`)
}

// HandedOver records that a hand-over is complete.
func (s *Store) HandedOver(ctx context.Context, former string) error {
	return s.exec(ctx, "note hand-over", `DELETE FROM handover WHERE former_id = ?`, former)
}

// removeSession deletes a session that no process runs. It does nothing if id is "".
func removeSession(ctx context.Context, tx *sql.Tx, id string) error {
	if id == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM session WHERE id = ?`, id)
	return err
}

// RemoveProcess deletes a process, and the session ended unless that is "".
func (s *Store) RemoveProcess(ctx context.Context, n process.Number, ended string) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM process WHERE domain = ? AND pid = ?`, n.Domain, n.PID); err != nil {
			return err
		}
		return removeSession(ctx, tx, ended)
	})
	if err != nil {
		return fmt.Errorf("forget process: %w", err)
	}
	return nil
}

// Formers returns the sessions that a session succeeds in a mesh, newest first.
func (s *Store) Formers(ctx context.Context, mesh, session string) ([]string, error) {
	return collect(ctx, s.db, "read successions", func(r *sql.Rows, id *string) error { return r.Scan(id) },
		`SELECT former_id FROM succession WHERE mesh_id = ? AND session_id = ? ORDER BY position`, mesh, session)
}

// Sessions returns all sessions.
func (s *Store) Sessions(ctx context.Context) ([]Session, error) {
	type inMesh struct{ session, mesh string }
	meshes, err := collect(ctx, s.db, "read sessions", func(r *sql.Rows, m *inMesh) error { return r.Scan(&m.session, &m.mesh) },
		`SELECT session_id, mesh_id FROM session_mesh ORDER BY mesh_id`)
	if err != nil {
		return nil, err
	}
	list, err := collect(ctx, s.db, "read sessions", scanSession,
		`SELECT id, cwd, name, role, groups, title, model, summary, dnd, edits, since, active, config_dir FROM session ORDER BY id`)
	for i := range list {
		for _, m := range meshes {
			if m.session == list[i].ID {
				list[i].Meshes = append(list[i].Meshes, m.mesh)
			}
		}
	}
	return list, err
}

func scanSession(r *sql.Rows, f *Session) error {
	var groups, edits string
	var since, active int64
	if err := r.Scan(&f.ID, &f.Cwd, &f.Name, &f.Role, &groups, &f.Title, &f.Model, &f.Summary, &f.DND, &edits, &since, &active, &f.ConfigDir); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(groups), &f.Groups); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if err := json.Unmarshal([]byte(edits), &f.Edits); err != nil {
		return fmt.Errorf("edits: %w", err)
	}
	f.Since, f.Active = time.UnixMilli(since), time.UnixMilli(active)
	return nil
}

// Processes returns all registered processes, including dead ones.
func (s *Store) Processes(ctx context.Context) ([]Process, error) {
	return collect(ctx, s.db, "read processes", func(r *sql.Rows, p *Process) error {
		return r.Scan(&p.Domain, &p.PID, &p.Start, &p.Token, &p.SessionID, &p.Cleared)
	}, `SELECT domain, pid, start, token, session_id, cleared FROM process ORDER BY domain, pid`)
}

// Touch writes the time of each session's last activity.
func (s *Store) Touch(ctx context.Context, active map[string]time.Time) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		for id, at := range active {
			if _, err := tx.ExecContext(ctx, `UPDATE session SET active = ? WHERE id = ?`, at.UnixMilli(), id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store activity: %w", err)
	}
	return nil
}
