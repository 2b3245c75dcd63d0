package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
)

// lock keeps other processes, and other calls in this process, from creating files and
// setting them aside until close. The system releases the lock when the process dies.
// A file system that can't lock a directory (NFS) works without the lock: there,
// link(2) alone decides.
func (d *sessionDir) lock() error {
	for deadline := time.Now().Add(lockTimeout); ; time.Sleep(5 * time.Millisecond) {
		err := system.TryLock(d.self)
		switch {
		case err == nil, unsupported(err), errors.Is(err, syscall.EBADF), errors.Is(err, syscall.ENOLCK):
			return nil
		case !errors.Is(err, system.ErrLocked):
			return fmt.Errorf("lock %s: %w", d.Name(), err)
		case time.Now().After(deadline):
			return fmt.Errorf("lock %s: another process holds the lock", d.Name())
		}
	}
}

// repairDir is repairMode for a directory. It ignores everything else.
func repairDir(in *os.Root, name string) ([]string, error) {
	info, err := in.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("check the directory of session keys: %w", err)
	}
	if !info.IsDir() {
		return nil, nil
	}
	return repairMode(in, name, info), nil
}

// repairMode removes other users' permissions on a file or directory and returns a
// warning. It doesn't change a directory that this user shares with others, like /tmp.
func repairMode(in *os.Root, name string, info fs.FileInfo) []string {
	want := fs.FileMode(0o600)
	mode, path := info.Mode(), filepath.Join(in.Name(), name)
	switch {
	case !system.HasModes, !info.IsDir() && mode.Perm() == want:
		return nil
	case info.IsDir():
		want = 0o700
		// Keep the mode if the owner only made it stricter, e.g. read-only.
		if mode.Perm()&^want == 0 {
			return nil
		}
	}
	if mode&os.ModeSticky != 0 || system.NotOurs(info) {
		return []string{fmt.Sprintf("%s has mode %04o and isn't yours alone; choose another CLAUDEMESH_SESSIONS_DIR", path, mode.Perm())}
	}
	if err := in.Chmod(name, want); err != nil {
		return []string{fmt.Sprintf("%s has mode %04o, which could not be repaired: %v", path, mode.Perm(), err)}
	}
	return []string{fmt.Sprintf("%s had mode %04o; it is now %04o", path, mode.Perm(), want)}
}

// makeDir is a durable os.MkdirAll with mode 0700: the directories survive a crash.
func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	return syncHandle(parent)
}

// syncRoot makes the entries of a directory durable.
func syncRoot(dir *os.Root) error {
	self, err := dir.Open(".")
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir.Name(), err)
	}
	defer self.Close()
	return syncHandle(self)
}

// syncHandle syncs an open directory. Some file systems don't support it and don't
// need it.
func syncHandle(dir *os.File) error {
	if err := system.SyncDir(dir); err != nil && !errors.Is(err, syscall.EINVAL) && !unsupported(err) {
		return err
	}
	return nil
}

// unsupported reports whether the file system doesn't support the operation.
func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EOPNOTSUPP)
}
