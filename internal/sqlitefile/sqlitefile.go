// Package sqlitefile creates and opens SQLite databases, each of which several goroutines and
// processes may create and open at once.
package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"modernc.org/sqlite" // also the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/claudemesh/claudemesh/internal/system"
)

// busyTimeout is how long to wait for another connection, such as that of a backup.
const busyTimeout = 10 * time.Second

// creating is held while a file that others may find is open.
var creating sync.Mutex

// Create creates an empty file with mode 0600 for a database, unless path already names a file.
// SQLite would create it with mode 0644. Create returns an *fs.PathError if path names a directory
// or a file that this user can't write to.
//
// A process that closes a file gives up all its fcntl locks of that file, and SQLite uses such
// locks. Create therefore opens no file that exists. While it has a new file open, no other
// goroutine can pass Create and lock that file.
func Create(path string) error {
	creating.Lock()
	defer creating.Unlock()
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return &fs.PathError{Op: "open", Path: path, Err: syscall.EISDIR}
	case err == nil:
		return system.Writable(path)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// Open opens a pool of up to size connections to a database file. The driver reads the query. A
// statement waits up to 10 s for other connections.
func Open(ctx context.Context, path string, size int, query url.Values) (*sql.DB, error) {
	all := url.Values{"_busy_timeout": {strconv.FormatInt(busyTimeout.Milliseconds(), 10)}}
	maps.Copy(all, query)
	db, err := sql.Open("sqlite", URI(path, all))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	if err := connect(ctx, db); err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, db.Close()))
	}
	return db, nil
}

// connect makes the first connection. It tries again when the database is busy: a connection that
// gives a new database its write-ahead log does not wait for another one that does the same.
func connect(ctx context.Context, db *sql.DB) error {
	for end := time.Now().Add(busyTimeout); ; {
		err := db.PingContext(ctx)
		var e *sqlite.Error
		if !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// URI returns the name of a database file for the driver.
func URI(path string, query url.Values) string {
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}
