//go:build unix

package sqlite

import (
	"os"
	"path/filepath"
	"syscall"
)

// owner is the user whose files are to be written, when another user, root, writes them.
type owner struct {
	uid, gid int
	other    bool // it is not this process's user
}

// ownerOf returns the owner of the file at path or, if there is none, of its directory.
func ownerOf(path string) owner {
	for _, at := range []string{path, filepath.Dir(path)} {
		if info, err := os.Stat(at); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				return owner{int(st.Uid), int(st.Gid), int(st.Uid) != os.Geteuid()}
			}
		}
	}
	return owner{}
}

// give makes a file the owner's.
func (o owner) give(path string) error {
	if !o.other {
		return nil
	}
	return os.Chown(path, o.uid, o.gid)
}
