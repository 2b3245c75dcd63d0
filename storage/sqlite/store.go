package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/claudemesh/claudemesh/internal/sqlitefile"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// readers limits the number of connections that read while another one writes.
	readers = 4
	// walPages is the size at which SQLite moves the pages of the write-ahead log into the
	// database: 16 MiB. With SQLite's default of 4 MiB, that would happen every few
	// batches, with two more syncs each time.
	walPages = 4096
	// These are the page caches of the writer, which has room for the pages of a batch,
	// and of each reader, which reads rows only once. A page takes twice its size in
	// memory, because the driver's allocator rounds up to powers of two.
	writerCacheKiB, readerCacheKiB = 8 << 10, 2 << 10
)

// Store is a database file. All methods are safe for concurrent use.
type Store struct {
	path  string
	write *writer
	read  *reader
	swept atomic.Int64 // Unix ms; nothing older is pending

	trials wire.IDSource // the ids of Ping's messages

	mu   sync.Mutex
	lock *os.File    // held after Claim
	file os.FileInfo // of the file that is open
}

// Open opens the database file at path. If they do not exist, it creates the file (mode
// 0600) and its directory (0700). It does not change the schema.
func Open(path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the database's directory: %w", err)
	}
	// SQLite gives its other files the mode of this one.
	if err := sqlitefile.Create(path); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	writing, reading, err := connectBoth(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return &Store{
		path: path, file: info,
		write: &writer{slot: make(chan struct{}, 1), db: writing},
		read:  &reader{db: reading, statements: map[string]*sql.Stmt{}},
	}, nil
}

// connectBoth opens the pools of a database file.
func connectBoth(path string) (writing, reading *sql.DB, err error) {
	pragmas := []string{"foreign_keys(1)", "synchronous(FULL)"}
	// journal_mode comes first: it is a property of the file, which the readers then see.
	writing, err = connect(path, 1, append([]string{"journal_mode(WAL)",
		fmt.Sprintf("cache_size(-%d)", writerCacheKiB),
		fmt.Sprintf("wal_autocheckpoint(%d)", walPages),
		fmt.Sprintf("journal_size_limit(%d)", walPages*4096)}, pragmas...))
	if err != nil {
		return nil, nil, err
	}
	reading, err = connect(path, readers, append(pragmas, fmt.Sprintf("cache_size(-%d)", readerCacheKiB), "query_only(1)"))
	if err != nil {
		return nil, nil, errors.Join(err, writing.Close())
	}
	return writing, reading, nil
}

// connect opens a pool of connections with the same settings.
func connect(path string, size int, pragmas []string) (*sql.DB, error) {
	return sqlitefile.Open(context.Background(), path, size, url.Values{"_pragma": pragmas})
}

// Close waits for the running transaction, closes the database and gives up the claim.
func (s *Store) Close() error {
	err := errors.Join(s.read.close(), s.write.close())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close()) // closing the file unlocks it
		s.lock = nil
	}
	if err != nil {
		return fmt.Errorf("close database: %w", err)
	}
	return nil
}
