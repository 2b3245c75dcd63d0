package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/claudemesh/claudemesh/peer/configdir"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	// callsGrace is how long running calls may take to finish when the daemon stops.
	callsGrace = 2 * time.Second
)

// newToken returns 256 random bits in hex.
func newToken() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// reach returns what other programs need to reach the daemon.
func (d *daemon) reach() local.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info
}

// announce writes the files from which other programs learn how to reach the daemon.
func (d *daemon) announce() error {
	b, err := json.Marshal(d.reach())
	if err != nil {
		return fmt.Errorf("announce the daemon: %w", err)
	}
	if err := d.clearWay(d.o.Dir.Path(local.InfoName), false); err != nil {
		return fmt.Errorf("announce the daemon: %w", err)
	}
	if err := d.o.Dir.WriteFile(local.InfoName, append(b, '\n')); err != nil {
		return fmt.Errorf("announce the daemon: %w", err)
	}
	return nil
}

// retract removes the announcement. Closing the listener removes the socket.
func (d *daemon) retract() {
	if err := os.Remove(d.o.Dir.Path(local.InfoName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("remove announcement", "error", err)
	}
}

// writeTicket writes the file from which the processes below p learn the address and token for
// its session.
func (d *daemon) writeTicket(p store.Process) error {
	path := local.TicketPath(d.o.Dir, p.Number)
	err := d.clearWay(filepath.Dir(path), true)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = d.clearWay(path, false)
	}
	if err != nil {
		return fmt.Errorf("write ticket: %w", err)
	}
	b, err := json.Marshal(local.Ticket{PID: p.PID, Domain: p.Domain, ProcStart: p.Start, SessionID: p.SessionID, Token: p.Token})
	if err != nil {
		return fmt.Errorf("write ticket: %w", err)
	}
	// Not durable: a loss of power that loses the ticket also ends the processes that need it.
	if err := configdir.Replace(path, append(b, '\n'), 0o600, false); err != nil {
		return fmt.Errorf("write ticket: %w", err)
	}
	return nil
}

// clearWay moves a file out of the way where the daemon needs a directory, or a directory where
// the daemon needs a file.
func (d *daemon) clearWay(path string, wantDir bool) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() == wantDir || err != nil && !wantDir {
		return nil // other problems show when the daemon uses the path
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	aside := path + time.Now().Format(".aside-20060102-150405.000")
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	d.log.Warn("moved an unexpected file or directory out of the way", "path", path, "now", aside)
	return nil
}

func (d *daemon) removeTicket(n process.Number) {
	if err := os.Remove(local.TicketPath(d.o.Dir, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("remove ticket", "error", err)
	}
}
