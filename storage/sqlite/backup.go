package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup writes a copy of the database to a new file (mode 0600) at path, and checks the
// copy. A broker may use the database meanwhile: the copy has what was committed when
// Backup began. The file appears only when it is complete and on disk. Backup returns an
// error that wraps fs.ErrExist if there is a file at path, and does not change that file.
func (s *Store) Backup(ctx context.Context, path string, progress Progress) (c Contents, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return c, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up %s to %s: %w", s.path, path, err)
		}
	}()
	if _, err := os.Lstat(path); err == nil {
		return c, fs.ErrExist
	}
	partial, discard, err := scratch(path)
	if err != nil {
		return c, err
	}
	defer discard()
	conn, err := s.read.conn(ctx)
	if err != nil {
		return c, err
	}
	if err := errors.Join(copyDatabase(ctx, conn, partial, progress), conn.Close()); err != nil {
		return c, err
	}
	if c, err = check(ctx, partial); err != nil {
		return c, fmt.Errorf("check the copy: %w", err)
	}
	if err := syncFile(partial); err != nil {
		return c, err
	}
	return c, publish(partial, path)
}
