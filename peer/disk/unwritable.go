package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/peer/configdir"
)

// UnwritableError reports that a file can't be written because of its disk, its mount, or
// something else at its path.
type UnwritableError struct {
	Advice string // what is wrong, where, and what to do
	Err    error  // what failed
}

func (e *UnwritableError) Error() string { return e.Advice + " (" + e.Err.Error() + ")" }

func (e *UnwritableError) Unwrap() error { return e.Err }

// Unwritable returns an *UnwritableError around err if err has such a cause, in the
// directory or elsewhere on disk. Otherwise it returns err.
func Unwritable(d configdir.Dir, err error) error {
	var known *UnwritableError
	if err == nil || errors.As(err, &known) {
		return err
	}
	path, reason := reasonOf(d, err)
	if advice := adviceOn(d, path, reason); advice != "" {
		return &UnwritableError{Advice: advice, Err: err}
	}
	return err
}

// reasonOf returns the path that an operation failed on and the system's error, or nil if
// there is none.
func reasonOf(d configdir.Dir, err error) (path string, reason error) {
	var file *fs.PathError
	var link *os.LinkError
	var db *sqlite.Error
	switch {
	case errors.As(err, &file):
		return file.Path, file.Err
	case errors.As(err, &link):
		return link.New, link.Err
	case !errors.As(err, &db):
		return "", nil
	}
	switch db.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return string(d), syscall.ENOSPC
	case sqlite3.SQLITE_READONLY:
		reason = syscall.EROFS
	case sqlite3.SQLITE_IOERR:
		reason = syscall.EIO
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
	default:
		return "", nil
	}
	// SQLite reports neither the file nor the system's error.
	if err := try(d); errors.As(err, &file) {
		return file.Path, file.Err
	}
	return string(d), reason
}

// adviceOn explains a system's error, or returns "" if it has no explanation for it.
func adviceOn(d configdir.Dir, path string, reason error) string {
	if strings.HasSuffix(path, ".tmp") { // a temporary file that replaces another file
		path = filepath.Dir(path)
	}
	elsewhere := ""
	if path == string(d) || strings.HasPrefix(path, d.Path("")+string(filepath.Separator)) {
		elsewhere = ", or set CLAUDEMESH_CONFIG_DIR to another directory"
	}
	switch {
	case errors.Is(reason, syscall.ENOSPC):
		return fmt.Sprintf("the disk of %s is full; make room on it, and try again", path)
	case errors.Is(reason, syscall.EDQUOT):
		return fmt.Sprintf("your quota on the disk of %s is used up; make room there, and try again", path)
	case errors.Is(reason, syscall.EROFS):
		return fmt.Sprintf("%s is read-only, by its file system or by a mount; make it writable%s", path, elsewhere)
	case errors.Is(reason, syscall.EACCES), errors.Is(reason, syscall.EPERM):
		return fmt.Sprintf("this user may not access %s; check its owner and mode%s", path, elsewhere)
	case errors.Is(reason, syscall.EBUSY):
		return fmt.Sprintf("%s can't be replaced while something is mounted on it; unmount that%s", path, elsewhere)
	case errors.Is(reason, syscall.EISDIR):
		return fmt.Sprintf("%s is a directory in the place of a file; move it away%s", path, elsewhere)
	case errors.Is(reason, syscall.ENOTDIR):
		return fmt.Sprintf("%s is a file in the place of a directory; move it away%s", inTheWay(path), elsewhere)
	case errors.Is(reason, syscall.EIO):
		return fmt.Sprintf("the disk of %s reports errors; see the system's log%s", path, elsewhere)
	}
	return ""
}

// inTheWay returns the part of a path that is a file, if there is one.
func inTheWay(path string) string {
	for part := path; part != filepath.Dir(part); part = filepath.Dir(part) {
		if info, err := os.Stat(part); err == nil && !info.IsDir() {
			return part
		}
	}
	return path
}

// Writable returns an *UnwritableError if claudemesh can't write to its directory because
// of one of its files or the disk. If the directory does not exist, Writable returns nil.
func Writable(d configdir.Dir) error {
	if err := try(d); !errors.Is(err, fs.ErrNotExist) {
		return Unwritable(d, err)
	}
	return nil // the directory is made when it is needed
}

// try checks that files are writable without opening them: closing a file would release
// all locks that this process holds on it, including SQLite's.
func try(d configdir.Dir) error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !kept.MatchString(entry.Name()) {
			continue
		}
		if err := system.Writable(d.Path(entry.Name())); err != nil {
			return err
		}
	}
	return room(d)
}

// kept matches the files that claudemesh writes to in place. Files that it replaces may be
// links to files elsewhere.
var kept = regexp.MustCompile(`\.(db(-.*)?|lock|log)$|^daemon\.json$`)

// room writes and removes as much as a large message needs.
func room(d configdir.Dir) (err error) {
	const size = 256 << 10
	file, err := os.CreateTemp(string(d), "room.*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(make([]byte, size)); err != nil {
		return err
	}
	return file.Sync()
}
