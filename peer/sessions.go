package peer

import (
	"os"
	"path/filepath"
)

// SessionsRoot returns the directory of the session keys: $CLAUDEMESH_SESSIONS_DIR, or
// "sessions" in the config directory if that is not set.
func SessionsRoot(d Dir) string {
	root := os.Getenv("CLAUDEMESH_SESSIONS_DIR")
	if root == "" {
		return d.Path("sessions")
	}
	if abs, err := filepath.Abs(root); err == nil {
		return abs
	}
	return root
}
