package daemon

import (
	"os"
	"testing"
)

// TestSocketWithoutMode checks that if a socket's mode can't be changed, the directory
// keeps others out.
func TestSocketWithoutMode(t *testing.T) {
	t.Parallel()
	u := newUser(t, "alice")
	u.upAsChild(denyChmodEnv + "=1")
	if info, err := os.Stat(string(u.dir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v", info.Mode(), err)
	}
}
