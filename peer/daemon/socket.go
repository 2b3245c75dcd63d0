package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/claudemesh/claudemesh/internal/system"
	"github.com/claudemesh/claudemesh/peer/local"
)

// socket is where the daemon listens. If somebody deletes its file, for example a cleaner of
// temporary files, the daemon listens again.
type socket struct {
	server *http.Server
	failed chan<- error // capacity 1: the newest listener has failed

	mu       sync.Mutex
	listener *net.UnixListener
	file     os.FileInfo // of the listener
}

// open listens at the first path that allows it and admits only this user. It replaces the
// socket of a dead daemon. A live daemon would hold the lock.
func (s *socket) open(d *daemon) (path string, err error) {
	var errs []error
	for _, path := range local.SocketPaths(d.o.Dir) {
		dir := filepath.Dir(path)
		listener, err := listen(path, dir == filepath.Clean(string(d.o.Dir)))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		file, err := os.Lstat(path)
		if err != nil {
			errs = append(errs, errors.Join(fmt.Errorf("check the socket: %w", err), listener.Close()))
			continue
		}
		s.replace(listener, file)
		d.group.Go(func() { s.serve(listener) })
		return path, nil
	}
	return "", errors.Join(errs...)
}

// replace makes listener the current one and closes the previous one.
func (s *socket) replace(listener *net.UnixListener, file os.FileInfo) {
	s.mu.Lock()
	before := s.listener
	s.listener, s.file = listener, file
	s.mu.Unlock()
	if before != nil {
		before.SetUnlinkOnClose(false) // the path now belongs to the new listener or to another program
		_ = before.Close()
	}
}

func (s *socket) serve(listener *net.UnixListener) {
	err := s.server.Serve(listener)
	s.mu.Lock()
	current := s.listener == listener
	s.mu.Unlock()
	if current {
		select {
		case s.failed <- err:
		default: // one failure ends the daemon
		}
	}
}

// lost reports whether the path no longer leads to the socket that the daemon listens on.
func (s *socket) lost(path string) bool {
	info, err := os.Lstat(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, s.file)
}

// leave keeps the socket's file when the listener closes.
func (s *socket) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener.SetUnlinkOnClose(false)
}

// listen opens a socket in a directory that only this user can access.
func listen(path string, link bool) (*net.UnixListener, error) {
	if err := ownDir(filepath.Dir(path), link); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("replace socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	// Some file systems of containers refuse to change the mode of a socket. The directory
	// still keeps others out.
	_ = os.Chmod(path, 0o600)
	return listener, nil
}

// ownDir makes sure that only this user can access a directory. The configuration directory may
// be a symbolic link. A directory under the temporary directory must not be one, since another
// user may have placed it as a trap.
func ownDir(path string, link bool) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create the socket's directory: %w", err)
	}
	stat := os.Lstat
	if link {
		stat = os.Stat
	}
	info, err := stat(path)
	if err != nil {
		return fmt.Errorf("check the socket's directory: %w", err)
	}
	if !info.IsDir() || system.NotOurs(info) {
		return fmt.Errorf("%s is not a directory that you own; set CLAUDEMESH_CONFIG_DIR to one that you do", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, info.Mode().Perm()&^0o077); err != nil {
			return fmt.Errorf("restrict the socket's directory to its owner: %w", err)
		}
	}
	return nil
}
