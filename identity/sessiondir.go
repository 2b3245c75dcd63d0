package identity

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	tempSuffix = ".tmp"

	// staleTemp is the age after which a temporary file must be a dead process's.
	staleTemp = time.Minute

	// lockTimeout is how long to wait for the lock. Other processes hold it while
	// they write one small file.
	lockTimeout = 5 * time.Second

	// createAttempts bounds the retries when a file disappears between two calls.
	createAttempts = 10
)

// sessionDir is the open directory of a mesh's session keys. All access goes through
// its os.Root, so that no symbolic link leads out of it.
type sessionDir struct {
	*os.Root
	self     *os.File // the directory itself, to lock and sync
	repairs  bool     // whether to repair wrong modes
	warnings []string
}

// damagedError says that a key file holds no key.
type damagedError struct{ file, why string }

func (e *damagedError) Error() string { return e.file + " is damaged: " + e.why }

// loadOrCreate returns the stored key, or stores offer if there is none. The warnings
// are valid even with an error.
//
// The first process to store a key wins: it gives a complete file its name with
// link(2), which never replaces another file. The lock covers what link can't do: it
// makes sure that nobody replaces a damaged file with a good one between the check
// and the move.
func loadOrCreate(root string, name sessionName, offer SessionKey) (key SessionKey, warnings []string, err error) {
	dir, err := makeSessionDir(root, name.slug)
	if err != nil {
		return SessionKey{}, nil, err
	}
	defer dir.close()
	defer func() { warnings = dir.warnings }()

	var damaged *damagedError
	missing := func() bool { return errors.Is(err, fs.ErrNotExist) || errors.As(err, &damaged) }
	if key, err = dir.load(name); !missing() {
		return key, nil, err
	}
	if err = dir.lock(); err != nil {
		return SessionKey{}, nil, err
	}
	for range createAttempts {
		if key, err = dir.load(name); !missing() {
			return key, nil, err
		}
		if errors.As(err, &damaged) {
			if err = dir.setAsideLocked(damaged); err != nil {
				return SessionKey{}, nil, err
			}
			continue // a file whose name has another case may be good
		}
		if err = dir.createLocked(name, offer); !errors.Is(err, fs.ErrExist) {
			return offer, nil, err
		}
	}
	return SessionKey{}, nil, err
}

// makeSessionDir opens the directory of a mesh. It creates missing directories and
// repairs modes.
func makeSessionDir(root, slug string) (*sessionDir, error) {
	if err := makeDir(root); err != nil {
		return nil, fmt.Errorf("create the directory of session keys: %w", err)
	}
	top, err := openRoot(root)
	if err != nil {
		return nil, err
	}
	defer top.Close()
	warnings, err := repairDir(top, ".")
	if err != nil {
		return nil, err
	}
	err = top.Mkdir(slug, 0o700)
	if err == nil {
		err = syncRoot(top)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create the directory of session keys: %w", err)
	}
	more, err := repairDir(top, slug)
	if err != nil {
		return nil, err
	}
	dir, err := openSessionDir(top, slug)
	if err != nil {
		return nil, err
	}
	dir.repairs, dir.warnings = true, append(warnings, more...)
	return dir, nil
}

// openRoot opens the directory that contains the meshes' directories.
func openRoot(root string) (*os.Root, error) {
	top, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the directory of session keys: %w", err)
	}
	return top, nil
}

// openSessionDir opens the directory of a mesh. It refuses a symbolic link, because
// two meshes must not share their keys.
func openSessionDir(top *os.Root, slug string) (*sessionDir, error) {
	listed, err := top.Lstat(slug)
	if err != nil {
		return nil, fmt.Errorf("open session keys: %w", err)
	}
	path := filepath.Join(top.Name(), slug)
	if !listed.IsDir() {
		return nil, fmt.Errorf("%s isn't a directory", path)
	}
	root, err := top.OpenRoot(slug)
	if err != nil {
		return nil, fmt.Errorf("open session keys: %w", err)
	}
	self, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open session keys: %w", err)
	}
	dir := &sessionDir{Root: root, self: self}
	if opened, err := self.Stat(); err != nil || !os.SameFile(listed, opened) {
		dir.close()
		return nil, fmt.Errorf("%s was replaced while it was being opened", path)
	}
	return dir, nil
}

// close also releases the lock.
func (d *sessionDir) close() {
	d.self.Close()
	d.Root.Close()
}

// warn adds warnings, each only once: the caller may read a file twice.
func (d *sessionDir) warn(warnings ...string) {
	for _, w := range warnings {
		if !slices.Contains(d.warnings, w) {
			d.warnings = append(d.warnings, w)
		}
	}
}

func (d *sessionDir) path(file string) string { return filepath.Join(d.Name(), file) }

// load reads a session's key. The error is fs.ErrNotExist if there is no file, and a
// *damagedError if the file holds no key.
func (d *sessionDir) load(name sessionName) (SessionKey, error) {
	file, err := d.find(name)
	if err != nil {
		return SessionKey{}, err
	}
	return d.read(name, file)
}

// find returns the name of a session's file. It prefers the lower-case name to any
// other case.
func (d *sessionDir) find(name sessionName) (string, error) {
	_, err := d.Lstat(name.file())
	if err == nil {
		return name.file(), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("find session key: %w", err)
	}
	files, err := d.files()
	if err != nil {
		return "", err
	}
	if file, ok := files[name.id]; ok {
		return file, nil
	}
	return "", fmt.Errorf("find the key of session %s: %w", name.id, fs.ErrNotExist)
}

// files returns the names of the key files by session id.
func (d *sessionDir) files() (map[string]string, error) {
	entries, err := fs.ReadDir(d.FS(), ".") // by name
	if err != nil {
		return nil, fmt.Errorf("list session keys: %w", err)
	}
	files := make(map[string]string)
	for _, entry := range entries {
		stem, isKey := strings.CutSuffix(entry.Name(), sessionSuffix)
		id, err := ParseSessionID(stem)
		if !isKey || err != nil {
			continue
		}
		if _, known := files[id]; !known || id == stem {
			files[id] = entry.Name()
		}
	}
	return files, nil
}

// read reads and checks a file.
func (d *sessionDir) read(name sessionName, file string) (SessionKey, error) {
	listed, err := d.Lstat(file)
	if err != nil {
		return SessionKey{}, fmt.Errorf("read session key: %w", err)
	}
	if !listed.Mode().IsRegular() {
		return SessionKey{}, &damagedError{file, "it isn't a regular file"}
	}
	if d.repairs {
		d.warn(repairMode(d.Root, file, listed)...)
	}
	// O_NONBLOCK: if the file has become a pipe, opening it must not wait for a writer.
	f, err := d.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return SessionKey{}, fmt.Errorf("read session key: %w", err)
	}
	defer f.Close()
	opened, err := f.Stat()
	if err != nil {
		return SessionKey{}, fmt.Errorf("read session key: %w", err)
	}
	if !os.SameFile(listed, opened) {
		// The new file may be good: report that there is none, so that the caller looks
		// again and doesn't set it aside.
		return SessionKey{}, fmt.Errorf("%s was replaced while it was being opened: %w", d.path(file), fs.ErrNotExist)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSessionFile+1))
	if err != nil {
		return SessionKey{}, fmt.Errorf("read session key: %w", err)
	}
	if len(b) > maxSessionFile {
		return SessionKey{}, &damagedError{file, "it is too long"}
	}
	key, err := parseSession(b, name)
	if err != nil {
		return SessionKey{}, &damagedError{file, err.Error()}
	}
	if key.CreatedAt.IsZero() {
		key.CreatedAt = opened.ModTime().UTC()
	}
	return key, nil
}

// setAsideLocked renames a damaged file so that nobody takes it for a key. The caller holds
// the lock.
func (d *sessionDir) setAsideLocked(e *damagedError) error {
	aside := e.file + ".corrupt"
	for n := 1; ; n++ {
		if _, err := d.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return fmt.Errorf("set a damaged session key aside: %w", err)
		}
		aside = fmt.Sprintf("%s.corrupt.%d", e.file, n)
	}
	if err := d.Rename(e.file, aside); err != nil {
		return fmt.Errorf("set a damaged session key aside: %w", err)
	}
	d.warn(fmt.Sprintf("%s; it is kept as %s and not used", d.path(e.Error()), aside))
	return nil
}

// createLocked stores a key durably and atomically: after a crash, the file is complete or
// doesn't exist. The error is fs.ErrExist if the file exists. The caller holds the
// lock.
func (d *sessionDir) createLocked(name sessionName, key SessionKey) error {
	b, err := encodeSession(name, key)
	if err != nil {
		return err
	}
	d.sweepLocked()
	temp := "." + name.file() + "." + rand.Text() + tempSuffix
	f, err := d.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("store session key: %w", err)
	}
	defer func() { _ = d.Remove(temp) }() // fails after the rename
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = d.Link(temp, name.file())
		// Not every file system has hard links. Under the lock, only a program that
		// doesn't use the lock can interfere between the check and the rename.
		if unsupported(err) || errors.Is(err, fs.ErrPermission) {
			if _, err = d.Lstat(name.file()); err == nil {
				return fs.ErrExist
			}
			err = d.Rename(temp, name.file())
		}
	}
	if err == nil {
		err = syncHandle(d.self)
	}
	if err != nil {
		return fmt.Errorf("store session key: %w", err)
	}
	return nil
}

// sweepLocked removes the temporary files of processes that died while they stored a key.
func (d *sessionDir) sweepLocked() {
	entries, err := fs.ReadDir(d.FS(), ".")
	if err != nil {
		return // sweeping is optional
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") || !strings.HasSuffix(entry.Name(), tempSuffix) {
			continue
		}
		if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > staleTemp {
			_ = d.Remove(entry.Name())
		}
	}
}
