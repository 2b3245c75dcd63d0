package daemon

import (
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// LogName is the daemon's log in the config directory; the log before it is
	// LogName with ".1" at its end.
	LogName = "daemon.log"
	// maxLogBytes is how long the log may get before it is put aside.
	maxLogBytes = 5 << 20
)

// LogFile is a log that never grows beyond twice its limit: when it is full, it
// is copied aside and goes on empty. It is emptied in place, so that whoever
// else appends to the file, such as the runtime that reports a crash on standard
// error, goes on doing so.
type LogFile struct {
	path  string
	limit int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// OpenLog opens the log at path, with mode 0600, and creates it if need be.
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

// rotateLocked empties the log. If it can't be kept aside, it is lost: a full
// disk must not be made fuller by a log.
func (l *LogFile) rotateLocked() {
	if err := l.copyAside(); err != nil {
		fmt.Fprintf(l.file, "the previous log was lost: %v\n", err)
	}
	if l.file.Truncate(0) == nil {
		l.size = 0
	}
}

func (l *LogFile) copyAside() error {
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
