package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/storage"
)

// Restoration says what to restore, and where.
type Restoration struct {
	Backup string // the file that Backup wrote; it is not changed
	Path   string // of the database
	// Replace sets a database at Path aside. Otherwise one there is an error that wraps
	// fs.ErrExist.
	Replace bool
	// Complete changes the restored database before a broker can open it. The schema is up
	// to date then.
	Complete func(context.Context, *Store) error
	Progress Progress
}

// Restored says what Restore did.
type Restored struct {
	Contents
	Aside string // where the database that was at Path is now, or ""
}

// Restore puts a backup in the place of a database. It returns storage.ErrInUse if a
// broker uses the database, and a *storage.NewerSchemaError if the backup is of a newer
// broker. On error, the database has the same content as before.
func Restore(ctx context.Context, r Restoration) (done Restored, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("restore %s from %s: %w", r.Path, r.Backup, err)
		}
	}()
	if r.Path, err = filepath.Abs(r.Path); err != nil {
		return done, err
	}
	if r.Backup, err = filepath.Abs(r.Backup); err != nil {
		return done, err
	}
	if err := r.refuse(); err != nil {
		return done, err
	}
	if err := os.MkdirAll(filepath.Dir(r.Path), 0o700); err != nil {
		return done, err
	}
	owner := ownerOf(r.Path)
	lock, err := lockDatabase(r.Path)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if _, err := os.Lstat(r.Path); err == nil && !r.Replace {
		return done, fmt.Errorf("%s: %w", r.Path, fs.ErrExist)
	}
	partial, discard, err := scratch(r.Path)
	if err != nil {
		return done, err
	}
	defer discard()
	if err := r.fill(ctx, partial); err != nil {
		return done, err
	}
	if done.Contents, err = check(ctx, partial); err != nil {
		return done, err
	}
	if err := errors.Join(owner.give(partial), owner.give(lock.Name()), syncFile(partial)); err != nil {
		return done, err
	}
	if done.Aside, err = setAside(r.Path, time.Now()); err != nil {
		return done, err
	}
	if err := os.Rename(partial, r.Path); err != nil {
		return done, errors.Join(causeOf(err), putBack(done.Aside, r.Path))
	}
	return done, syncDir(filepath.Dir(r.Path))
}

// refuse returns an error if the backup is a directory, or the database itself.
func (r *Restoration) refuse() error {
	backup, err := os.Stat(r.Backup)
	if err != nil {
		return err
	}
	if backup.IsDir() {
		return &fs.PathError{Op: "open", Path: r.Backup, Err: syscall.EISDIR}
	}
	if there, err := os.Stat(r.Path); err == nil && os.SameFile(backup, there) {
		return errors.New("the backup is the database itself")
	}
	return nil
}

// fill copies the backup into an empty file, and completes the copy.
func (r *Restoration) fill(ctx context.Context, partial string) (err error) {
	query := url.Values{"mode": {"ro"}, "_pragma": {"query_only(1)"}}
	if _, err := os.Stat(r.Backup + "-wal"); errors.Is(err, fs.ErrNotExist) {
		query.Set("immutable", "1") // the backup may be where nobody can write
	}
	conn, closing, err := connectOnce(ctx, r.Backup, query)
	if err != nil {
		return err
	}
	if err := errors.Join(copyDatabase(ctx, conn, partial, r.Progress), closing()); err != nil {
		return err
	}
	c, err := check(ctx, partial) // before anything relies on it
	if err != nil {
		return err
	}
	if c.Schema > len(migrations) {
		return &storage.NewerSchemaError{Found: c.Schema, Known: len(migrations)}
	}
	s, err := Open(partial)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Migrate(ctx); err != nil || r.Complete == nil {
		return err
	}
	return r.Complete(ctx, s)
}

// setAside gives the database at path, if there is one, another name, and returns it. The
// database stays at path too, until another file takes that place. What belongs to it
// beside it must go, because SQLite would take it for the new database's.
func setAside(path string, now time.Time) (aside string, err error) {
	aside = path + ".replaced-" + now.UTC().Format("20060102T150405.000Z")
	found := ""
	defer func() {
		if err != nil {
			err = fmt.Errorf("set the database aside: %w", errors.Join(err, putBack(found, path)))
			aside = ""
		}
	}()
	for _, end := range append([]string{""}, sidecars...) {
		err := os.Link(path+end, aside+end)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		found = aside
	}
	for _, end := range sidecars {
		if err := os.Remove(path + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return found, syncDir(filepath.Dir(path))
}

// putBack undoes setAside, unless aside is "". The database itself is still at path.
func putBack(aside, path string) error {
	if aside == "" {
		return nil
	}
	for _, end := range sidecars {
		// Rename does nothing if both names still belong to the same file.
		if err := os.Rename(aside+end, path+end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // what is aside stays there
		}
	}
	for _, end := range append([]string{""}, sidecars...) {
		if err := os.Remove(aside + end); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}
