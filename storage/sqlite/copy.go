package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"

	"github.com/claudemesh/claudemesh/internal/sqlitefile"
	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/storage/internal/column"
)

// Progress is called while a command copies a database, with the bytes copied so far and
// the size of the database.
type Progress func(done, size int64)

// stepPages is how many pages are copied between two calls of a Progress: 1 MiB.
const stepPages = 256

// sidecars are the endings of the files that SQLite keeps beside a database.
var sidecars = []string{"-wal", "-shm", "-journal"}

// copyDatabase copies the database of a connection to the file at path, which must be
// empty. It copies one state, whatever others write meanwhile.
func copyDatabase(ctx context.Context, from *sql.Conn, path string, progress Progress) (err error) {
	// The backup takes a new snapshot with each step, and starts again when it differs from
	// the last one. Inside a transaction, it is always the same. Reading begins it.
	if _, err := from.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	defer func() {
		_, end := from.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		err = errors.Join(err, end)
	}()
	var pageSize int64
	var tables int
	if err := from.QueryRowContext(ctx, "PRAGMA page_size").Scan(&pageSize); err != nil {
		return err
	}
	if err := from.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return err
	}
	return from.Raw(func(conn any) (err error) {
		c, ok := conn.(interface {
			NewBackup(uri string) (*sqlite.Backup, error)
		})
		if !ok {
			return fmt.Errorf("the driver's %T can't make backups", conn)
		}
		// Nobody needs the new file after a crash, so it has no journal.
		b, err := c.NewBackup(sqlitefile.URI(path, url.Values{"_pragma": {"journal_mode(OFF)", "synchronous(FULL)"}}))
		if err != nil {
			return err
		}
		defer func() {
			if end := b.Finish(); err == nil { // otherwise it repeats the error
				err = end
			}
		}()
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				return err
			}
			if more, err = b.Step(stepPages); err != nil {
				return err
			}
			if progress != nil {
				progress(int64(b.PageCount()-b.Remaining())*pageSize, int64(b.PageCount())*pageSize)
			}
		}
		return nil
	})
}

// connectOnce opens one connection to a database file.
func connectOnce(ctx context.Context, path string, query url.Values) (_ *sql.Conn, closing func() error, err error) {
	db, err := sql.Open("sqlite", sqlitefile.URI(path, query))
	if err != nil {
		return nil, nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return conn, func() error { return errors.Join(conn.Close(), db.Close()) }, nil
}

// Contents says what a database has.
type Contents struct {
	Bytes   int64 `json:"bytes"` // of the file
	Schema  int   `json:"schema"`
	Meshes  int64 `json:"meshes"`
	Members int64 `json:"members"` // without those that left or were removed
	Waiting int64 `json:"waiting"` // deliveries that have not been acknowledged
	Audit   int64 `json:"audit"`   // entries of all audit logs
}

// check makes the database at path a single file, and returns what it has. It returns an
// error if the database is damaged, or is not one of a broker.
func check(ctx context.Context, path string) (c Contents, err error) {
	conn, closing, err := connectOnce(ctx, path, url.Values{"_pragma": {"journal_mode(DELETE)", "synchronous(FULL)"}})
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, closing()) }()
	var found string
	if err := conn.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return c, err
	}
	if found != "ok" {
		return c, fmt.Errorf("the database is damaged: %s", found)
	}
	broken, err := conn.QueryContext(ctx, "PRAGMA foreign_key_check")
	if err != nil {
		return c, err
	}
	bad := broken.Next()
	if err := errors.Join(broken.Err(), broken.Close()); err != nil {
		return c, err
	}
	if bad {
		return c, errors.New("the database is damaged: rows refer to others that are missing")
	}
	c.Schema, err = schemaVersion(func(query string, args ...any) column.Row { return conn.QueryRowContext(ctx, query, args...) })
	if err != nil {
		return c, err
	}
	if c.Schema == 0 {
		return c, errors.New("it is not the database of a claudemesh broker")
	}
	const counts = `SELECT (SELECT count(*) FROM meshes), (SELECT count(*) FROM members WHERE removed_at IS NULL),
		(SELECT count(*) FROM deliveries WHERE state = 0), (SELECT coalesce(sum(seq), 0) FROM audit_heads)`
	if err := conn.QueryRowContext(ctx, counts).Scan(&c.Meshes, &c.Members, &c.Waiting, &c.Audit); err != nil {
		return c, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return c, err
	}
	c.Bytes = info.Size()
	return c, nil
}

// scratch creates an empty file beside path, for a database that is to be moved there. The
// caller calls discard, which does nothing if the file is not there any more.
func scratch(path string) (name string, discard func(), err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial") // mode 0600
	if err != nil {
		return "", nil, causeOf(err)
	}
	name = f.Name()
	discard = func() {
		_ = os.Remove(name)
		for _, end := range sidecars {
			_ = os.Remove(name + end)
		}
	}
	if err := f.Close(); err != nil {
		discard()
		return "", nil, causeOf(err)
	}
	return name, discard, nil
}

// publish moves a file to a path where there is none. It returns an error that wraps
// fs.ErrExist if there is one, even if it appears at this moment.
func publish(from, to string) error {
	if err := os.Link(from, to); errors.Is(err, fs.ErrExist) {
		return causeOf(err)
	} else if err != nil { // the file system has no links
		if _, err := os.Lstat(to); err == nil {
			return fs.ErrExist
		} else if !errors.Is(err, fs.ErrNotExist) {
			return causeOf(err)
		}
		if err := os.Rename(from, to); err != nil {
			return causeOf(err)
		}
	}
	return syncDir(filepath.Dir(to))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(system.SyncDir(dir), dir.Close())
}

// syncFile makes the content of a scratch file durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return causeOf(err)
	}
	return causeOf(errors.Join(f.Sync(), f.Close()))
}

// causeOf returns the system's error, without the name of a scratch file, which would tell the
// operator nothing.
func causeOf(err error) error {
	var file *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &file):
		return file.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
