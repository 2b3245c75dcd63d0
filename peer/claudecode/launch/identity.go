package launch

import (
	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/peer/claudecode/transcript"
)

// Identity identifies the session that claude will run.
type Identity struct {
	// SessionID is "" if it isn't known yet. The SessionStart hook then reports it.
	SessionID string
	Returns   bool     // the session existed before
	Args      []string // additional arguments for claude
}

// Identify finds out which session claude will run if it is started in cwd with these
// arguments. configDir is Claude Code's directory.
func Identify(a Args, configDir, cwd string) (Identity, error) {
	switch {
	case a.NoSession:
		return Identity{}, nil
	case a.Forks && (a.Resumes || a.Continues), a.SessionID != "":
		// claude chooses a new id for a fork, unless --session-id gives one. It refuses UUIDs that
		// are written without dashes or with braces.
		if len(a.SessionID) != 36 || uuid.Validate(a.SessionID) != nil {
			return Identity{}, nil //nolint:nilerr // claude itself reports a wrong id
		}
		return Identity{SessionID: a.SessionID}, nil
	case a.Elsewhere:
		return Identity{}, nil
	case a.Resumes:
		// Otherwise the value is a title, a path, or empty: claude searches, or asks the user.
		if _, ok := transcript.Find(configDir, a.Resume); ok {
			return Identity{SessionID: a.Resume, Returns: true}, nil
		}
		return Identity{}, nil
	case a.Continues:
		id, ok, err := transcript.Newest(configDir, cwd, a.Prints)
		return Identity{SessionID: id, Returns: ok}, err
	}
	id := uuid.NewString()
	return Identity{SessionID: id, Args: []string{"--session-id", id}}, nil
}
