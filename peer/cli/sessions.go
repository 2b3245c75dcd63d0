package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/local"
)

// liveTimeout is how long the daemon may take to say which sessions are live.
const liveTimeout = 5 * time.Second

// minSessionPrefix is the minimum length of a prefix that identifies a session.
const minSessionPrefix = 8

// shortSession returns the start of a session's id, which usually identifies the session.
func shortSession(id string) string { return id[:min(len(id), minSessionPrefix)] }

// storedRow is a row of sessions --json.
type storedRow struct {
	Mesh      string    `json:"mesh"`
	SessionID string    `json:"sessionId"`
	Pubkey    string    `json:"pubkey"` // "" if there is a Problem
	CreatedAt time.Time `json:"createdAt,omitzero"`
	LastUsed  time.Time `json:"lastUsed"`
	Title     string    `json:"title"`
	Live      bool      `json:"live"`
	Problem   string    `json:"problem,omitempty"`
}

func (a *app) sessionsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "sessions", Short: "List the sessions that have a key on this machine", Args: cobra.NoArgs,
		Example: `  claudemesh sessions
  claudemesh sessions --mesh team --json`,
		Long: `List the Claude Code sessions that have a key on this machine. As long as the key exists,
the session can be resumed as the same peer and gets the messages that arrive while it is
away. The keys are in ~/.claudemesh/sessions, or in CLAUDEMESH_SESSIONS_DIR.

--json: an array of {mesh, sessionId, pubkey, createdAt, lastUsed, title, live, problem?}.
problem says why a file contains no usable key.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sessions(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(a.sessionsRemoveCommand(), a.sessionsPruneCommand())
	return cmd
}

func (a *app) sessions(ctx context.Context, asJSON bool) error {
	list, err := a.storedSessions()
	if err != nil {
		return err
	}
	live, err := liveSessions(ctx, a.dir)
	if err != nil {
		fmt.Fprintln(a.err, "warning: can't ask the daemon for live sessions and titles:", printable(err.Error()))
	}
	rows := storedRows(list, live)
	for _, r := range rows {
		if r.Problem != "" {
			fmt.Fprintf(a.err, "warning: mesh %s: %s\n", oneLine(r.Mesh), oneLine(r.Problem))
		}
	}
	if asJSON {
		return a.printJSON(rows)
	}
	return a.table(sessionTable(rows, time.Now()), "SESSION", "KEY")
}

// storedSessions lists the sessions of the chosen mesh, or of all.
func (a *app) storedSessions() ([]identity.StoredSession, error) {
	list, err := a.sessionStore().List()
	if err != nil || a.mesh == "" {
		return list, err
	}
	config, err := peer.LoadConfig(a.dir)
	if err != nil {
		return nil, err
	}
	slug := a.mesh // may be a mesh that was left
	if m, err := config.Find(a.mesh); err == nil {
		slug = m.Slug
	}
	var of []identity.StoredSession
	for _, s := range list {
		if s.MeshSlug == slug {
			of = append(of, s)
		}
	}
	return of, nil
}

func (a *app) sessionStore() identity.SessionStore {
	return identity.OpenSessionStore(peer.SessionsRoot(a.dir))
}

// liveSessions asks the daemon for the live sessions, by session id. Without a daemon there
// are none.
func liveSessions(ctx context.Context, dir peer.Dir) (map[string]local.SessionStatus, error) {
	daemon, err := local.Owner(dir)
	if errors.Is(err, local.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	var status local.Status
	if err := daemon.Call(ctx, local.VerbStatus, nil, &status); err != nil {
		if errors.Is(err, local.ErrNotRunning) {
			return nil, nil
		}
		return nil, err
	}
	live := make(map[string]local.SessionStatus)
	for _, s := range status.Sessions {
		live[strings.ToLower(s.SessionID)] = s
	}
	return live, nil
}

func storedRows(list []identity.StoredSession, live map[string]local.SessionStatus) []storedRow {
	rows := make([]storedRow, 0, len(list))
	for _, s := range list {
		r := storedRow{
			Mesh: s.MeshSlug, SessionID: s.SessionID, CreatedAt: s.CreatedAt, LastUsed: s.LastUsed, Problem: s.Problem,
		}
		if s.Problem == "" {
			r.Pubkey = s.Pubkey.String()
		}
		var known local.SessionStatus
		if known, r.Live = live[s.SessionID]; r.Live {
			r.Title = known.Title
			if r.Title == "" {
				r.Title = known.Name
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func sessionTable(rows []storedRow, now time.Time) [][]string {
	cells := [][]string{{"MESH", "SESSION", "KEY", "LAST USED", "TITLE"}}
	for _, r := range rows {
		key, used, title := "damaged", timeText(r.LastUsed, now), "-"
		if r.Problem == "" {
			key = r.Pubkey[:8]
		}
		if r.Live {
			used = "live"
		}
		if r.Title != "" {
			title = r.Title
		}
		cells = append(cells, []string{r.Mesh, r.SessionID, key, used, title})
	}
	return cells
}
