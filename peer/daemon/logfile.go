package daemon

import (
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// LogName is the name of the daemon's log in the config directory. The previous log has the
	// same name with ".1" appended.
	LogName = "daemon.log"
	// maxLogBytes is how large the log may grow before it is rotated.
	maxLogBytes = 5 << 20
)

// LogFile is a log whose files never exceed twice its limit in total. When the log is full,
// LogFile copies it to another file and empties it in place. Other writers that append to the
// file, such as the Go runtime when it reports a crash on standard error, therefore continue to
// work.
type LogFile struct {
	path  string
	limit int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// OpenLog opens the log at path. If the file does not exist, OpenLog creates it with mode 0600.
func OpenLog(path string) (*LogFile, error) { return openLog(path, maxLogBytes) }

func openLog(path string, limit int64) (*LogFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &LogFile{path: path, limit: limit, file: file, size: info.Size()}, nil
}

// Write appends one entry.
func (l *LogFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > l.limit {
		l.rotateLocked()
	}
	n, err := l.file.Write(b)
	l.size += int64(n)
	return n, err
}

// rotateLocked empties the log after copying it. If copying fails, the old entries are lost: a
// log must not make a full disk fuller.
func (l *LogFile) rotateLocked() {
	failed := l.copyAsideLocked()
	if l.file.Truncate(0) != nil {
		return
	}
	l.size = 0
	if failed != nil {
		n, _ := fmt.Fprintf(l.file, "the previous log was lost: %v\n", failed) // the disk may be full
		l.size = int64(n)
	}
}

func (l *LogFile) copyAsideLocked() error {
	aside, err := os.OpenFile(l.path+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer aside.Close()
	_, err = io.Copy(aside, io.NewSectionReader(l.file, 0, l.size))
	return err
}

// Close closes the log.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
