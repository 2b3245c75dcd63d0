package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/claudemesh/claudemesh/wire"
)

const (
	// readers bounds the connections that read while another writes.
	readers = 4
	// walPages is how far the write-ahead log grows before its pages are moved
	// into the database: 16 MiB. SQLite's default of 4 MiB does so every few
	// batches, with two more syncs each time.
	walPages = 4096
	// The page caches of the writer, which has room for what a batch touches, and of
	// each reader, whose rows are read once. A page takes two in memory: the driver's
	// allocator rounds up to powers of two.
	writerCacheKiB, readerCacheKiB = 8 << 10, 2 << 10
	// busyTimeout is how long to wait for another process, a backup for example.
	busyTimeout = 10 * time.Second
)

// Store is a database file. All methods are safe for concurrent use.
type Store struct {
	path  string
	write *writer
	read  *reader
	swept atomic.Int64 // Unix ms; nothing older is pending

	trials wire.IDSource // of the messages of Ping

	mu   sync.Mutex
	lock *os.File // held after Claim
}

// Open opens the database file at path, and makes it (mode 0600) and its
// directory (0700) if they are not there. The schema is left as it is.
func Open(path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the database's directory: %w", err)
	}
	// Made here since SQLite's own mode is 0644; its other files follow this one's.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	pragmas := []string{
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"foreign_keys(1)",
		"synchronous(FULL)",
	}
	s := &Store{path: path}
	// journal_mode first: it is a property of the file, which readers then find.
	writing, err := connect(path, 1, append([]string{"journal_mode(WAL)",
		fmt.Sprintf("cache_size(-%d)", writerCacheKiB),
		fmt.Sprintf("wal_autocheckpoint(%d)", walPages),
		fmt.Sprintf("journal_size_limit(%d)", walPages*4096)}, pragmas...))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	reading, err := connect(path, readers, append(pragmas, fmt.Sprintf("cache_size(-%d)", readerCacheKiB), "query_only(1)"))
	if err != nil {
		return nil, fmt.Errorf("open database: %w", errors.Join(err, writing.Close()))
	}
	s.write = &writer{slot: make(chan struct{}, 1), db: writing}
	s.read = &reader{db: reading, statements: map[string]*sql.Stmt{}}
	return s, nil
}

// connect opens a pool of equal connections.
func connect(path string, size int, pragmas []string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	if err := db.Ping(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close waits for the transaction under way, closes the database and gives up
// the claim.
func (s *Store) Close() error {
	err := errors.Join(s.read.close(), s.write.close())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close()) // which unlocks
		s.lock = nil
	}
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}
