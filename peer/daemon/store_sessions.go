package daemon

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/wire"
)

// facts are what is known of a session beside its connections.
type facts struct {
	ID, Cwd, Name, Role, Title, Model string
	ConfigDir                         string // of Claude Code; "": the usual one
	Groups                            []wire.Group
	Summary                           string
	DND                               bool
	Edits                             groupEdits
	Since, Active                     time.Time
	Meshes                            []string // ids
	Trial                             bool     // not on disk: it lasts for moments
}

// groupEdits are the groups that a session has joined and left since its
// registration. They are made again at every connect.
type groupEdits struct {
	Joined map[string]string `json:"joined,omitempty"` // name → role
	Left   map[string]bool   `json:"left,omitempty"`
}

// registered is a process as it is on disk.
type registered struct {
	process.ID
	Token, SessionID string
	cleared          bool // it has said that a clear has ended the session
}

// putSession writes a session and the meshes that it is in.
func (s *store) putSession(ctx context.Context, f *facts) error {
	err := s.change(ctx, func(tx *sql.Tx) error { return putSession(ctx, tx, f) })
	if err != nil {
		return fmt.Errorf("store session: %w", err)
	}
	return nil
}

func putSession(ctx context.Context, tx *sql.Tx, f *facts) error {
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

// put writes, in one step, that a process runs a session, which sessions that one
// goes on for, and that the session which the process ran before is over. before is that
// session, or nil if the process has said how it ended.
func (s *store) put(ctx context.Context, f *facts, p registered, formers map[string][]string, ended string, before *facts, now time.Time) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		if err := errors.Join(putSession(ctx, tx, f), putKnown(ctx, tx, f, now)); err != nil {
			return err
		}
		if err := putProcess(ctx, tx, p); err != nil {
			return err
		}
		if before != nil {
			if err := putEarlier(ctx, tx, p.Number, before); err != nil {
				return err
			}
		}
		return errors.Join(putFormers(ctx, tx, f.ID, formers, ended, now), removeSession(ctx, tx, ended))
	})
	if err != nil {
		return fmt.Errorf("store registration: %w", err)
	}
	return nil
}

// putKnown remembers who a session is, beyond its end.
func putKnown(ctx context.Context, tx *sql.Tx, f *facts, now time.Time) error {
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

// recall fills in who a session was when it was last here, if it ever was.
func (s *store) recall(ctx context.Context, f *facts) error {
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

// forgetKnown forgets who a session was.
func (s *store) forgetKnown(ctx context.Context, session string) error {
	return s.exec(ctx, "forget session", `DELETE FROM known WHERE session_id = ?`, session)
}

// putProcess writes which session a process runs.
func (s *store) putProcess(ctx context.Context, p registered) error {
	err := s.change(ctx, func(tx *sql.Tx) error { return putProcess(ctx, tx, p) })
	if err != nil {
		return fmt.Errorf("store process: %w", err)
	}
	return nil
}

func putProcess(ctx context.Context, tx *sql.Tx, p registered) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO process (domain, pid, start, token, session_id, cleared) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (domain, pid) DO UPDATE SET start = excluded.start, token = excluded.token, session_id = excluded.session_id, cleared = excluded.cleared`,
		p.Domain, p.PID, p.Start, p.Token, p.SessionID, p.cleared)
	return err
}

// putSuccessor writes that a live session goes on for one that is over already.
func (s *store) putSuccessor(ctx context.Context, f *facts, formers map[string][]string, over string) error {
	now := time.Now()
	err := s.change(ctx, func(tx *sql.Tx) error {
		return errors.Join(putSession(ctx, tx, f), putKnown(ctx, tx, f, now), putFormers(ctx, tx, f.ID, formers, over, now))
	})
	if err != nil {
		return fmt.Errorf("store succession: %w", err)
	}
	return nil
}

// putFormers writes, by mesh, which sessions a session goes on for, and that the mail of
// one of them is to go to it.
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
	_, err := tx.ExecContext(ctx, `INSERT INTO handover (former_id, session_id) VALUES (?, ?)
		ON CONFLICT (former_id) DO UPDATE SET session_id = excluded.session_id`, over, session)
	return err
}

// handover is one that is not known to be complete.
type handover struct{ from, to string }

func (s *store) handovers(ctx context.Context) ([]handover, error) {
	return collect(ctx, s.db, "read hand-overs", func(r *sql.Rows, h *handover) error { return r.Scan(&h.from, &h.to) },
		`SELECT former_id, session_id FROM handover`)
}

// handedOver notes that a session has nothing left that is another's.
func (s *store) handedOver(ctx context.Context, former string) error {
	return s.exec(ctx, "note hand-over", `DELETE FROM handover WHERE former_id = ?`, former)
}

// removeSession forgets a session that no process runs; "" is none.
func removeSession(ctx context.Context, tx *sql.Tx, id string) error {
	if id == "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM session WHERE id = ?`, id)
	return err
}

// removeProcess forgets a process and, if it is over with it, its session.
func (s *store) removeProcess(ctx context.Context, n process.Number, ended string) error {
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

// formers returns the sessions that a session goes on for in a mesh, the newest
// first.
func (s *store) formers(ctx context.Context, mesh, session string) ([]string, error) {
	return collect(ctx, s.db, "read successions", func(r *sql.Rows, id *string) error { return r.Scan(id) },
		`SELECT former_id FROM succession WHERE mesh_id = ? AND session_id = ? ORDER BY position`, mesh, session)
}

// sessions returns all sessions.
func (s *store) sessions(ctx context.Context) ([]facts, error) {
	type inMesh struct{ session, mesh string }
	meshes, err := collect(ctx, s.db, "read sessions", func(r *sql.Rows, m *inMesh) error { return r.Scan(&m.session, &m.mesh) },
		`SELECT session_id, mesh_id FROM session_mesh ORDER BY mesh_id`)
	if err != nil {
		return nil, err
	}
	list, err := collect(ctx, s.db, "read sessions", scanFacts,
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

func scanFacts(r *sql.Rows, f *facts) error {
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

// processes returns all registered processes, dead ones too.
func (s *store) processes(ctx context.Context) ([]registered, error) {
	return collect(ctx, s.db, "read processes", func(r *sql.Rows, p *registered) error {
		return r.Scan(&p.Domain, &p.PID, &p.Start, &p.Token, &p.SessionID, &p.cleared)
	}, `SELECT domain, pid, start, token, session_id, cleared FROM process ORDER BY domain, pid`)
}

// touch writes when sessions were last active.
func (s *store) touch(ctx context.Context, active map[string]time.Time) error {
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
