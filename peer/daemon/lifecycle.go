package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	lockName = "daemon.lock"
	// callsGrace is how long calls under way may take when the daemon stops.
	callsGrace = 2 * time.Second
)

// newToken returns 256 random bits in hex.
func newToken() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// listen opens the socket, for this user alone. A socket of a daemon that has
// died is replaced; one that lives would hold the lock.
func (d *daemon) listen() (*net.UnixListener, error) {
	path := local.SocketPath(d.o.Dir)
	if err := ownDir(filepath.Dir(path), filepath.Dir(path) == filepath.Clean(string(d.o.Dir))); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("replace socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	// Until here the directory, which is nobody else's, keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close socket to others: %w", err), listener.Close())
	}
	d.info = local.Info{PID: os.Getpid(), Build: d.o.Build, Socket: path, Token: newToken()}
	return listener, nil
}

// ownDir makes sure that only this user can reach what is in a directory. The
// configuration directory may be a symbolic link; one under the temporary
// directory may be somebody else's trap.
func ownDir(path string, link bool) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory of the socket: %w", err)
	}
	stat := os.Lstat
	if link {
		stat = os.Stat
	}
	info, err := stat(path)
	if err != nil {
		return fmt.Errorf("check directory of the socket: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a directory of yours; choose another CLAUDEMESH_CONFIG_DIR", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, info.Mode().Perm()&^0o077); err != nil {
			return fmt.Errorf("close directory of the socket to others: %w", err)
		}
	}
	return nil
}

// lookForDir ends the daemon when its lock is no longer where others look for it.
func (d *daemon) lookForDir() {
	info, err := os.Stat(d.o.Dir.Path(lockName))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, d.lock) {
		kick(d.lost)
	}
}

// announce tells others how to reach the daemon.
func (d *daemon) announce() error {
	b, err := json.Marshal(d.info)
	if err != nil {
		return fmt.Errorf("announce the daemon: %w", err)
	}
	if err := d.o.Dir.WriteFile(local.InfoName, append(b, '\n')); err != nil {
		return fmt.Errorf("announce the daemon: %w", err)
	}
	return nil
}

// retract takes the announcement back. The socket goes with its listener.
func (d *daemon) retract() {
	if err := os.Remove(d.o.Dir.Path(local.InfoName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("remove announcement", "error", err)
	}
}

// writeTicket gives the processes below p what they need to speak for its session.
func (d *daemon) writeTicket(p registered) error {
	path := local.TicketPath(d.o.Dir, p.PID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write ticket: %w", err)
	}
	b, err := json.Marshal(local.Ticket{PID: p.PID, ProcStart: p.Start, SessionID: p.SessionID, Token: p.Token})
	if err != nil {
		return fmt.Errorf("write ticket: %w", err)
	}
	// No fsync: what is lost with a loss of power is of processes that are lost too.
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("write ticket: %w", err)
	}
	defer os.Remove(tmp.Name()) // does nothing after the rename
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write ticket: %w", err)
	}
	return nil
}

func (d *daemon) removeTicket(pid int) {
	if err := os.Remove(local.TicketPath(d.o.Dir, pid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("remove ticket", "error", err)
	}
}
