package launch

import (
	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/peer/claudecode/transcript"
)

// Identity is which session claude will run.
type Identity struct {
	// SessionID is "" when only the session itself can tell: its SessionStart hook
	// will.
	SessionID string
	Returns   bool     // it has been there before
	Args      []string // what claude must be called with besides
}

// Identify finds out which session claude will run when it is started in cwd with
// these arguments. configDir is Claude Code's directory.
func Identify(a Args, configDir, cwd string) (Identity, error) {
	switch {
	case a.NoSession:
		return Identity{}, nil
	case a.Forks && (a.Resumes || a.Continues), a.SessionID != "":
		// A fork has a new id of claude's choice, unless one is given.
		if uuid.Validate(a.SessionID) != nil {
			return Identity{}, nil //nolint:nilerr // claude itself refuses it, in its own words
		}
		return Identity{SessionID: a.SessionID}, nil
	case a.Elsewhere:
		return Identity{}, nil
	case a.Resumes:
		// Else it is a title, a path, or nothing: claude searches, or asks.
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
