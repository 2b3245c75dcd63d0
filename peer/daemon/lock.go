package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
)

const (
	lockName = "daemon.lock"
	// A daemon touches its lock file every signEvery to show that it is alive. A machine that
	// shares the directory but not its locks relies on that for signLimit.
	signEvery = 10 * time.Second
	signLimit = time.Minute
)

// holder describes the daemon that holds the lock. The lock file contains it.
type holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Boot  string    `json:"boot,omitempty"` // see process.Boot
	Since time.Time `json:"since"`
}

// here reports whether the holder runs, or ran, on this system. Only then can its locks be
// trusted.
func (h *holder) here() bool {
	if boot := process.Boot(); h.Boot != "" || boot != "" {
		return h.Boot == boot
	}
	host, _ := os.Hostname()
	return h.Host == host
}

// gone reports whether the holder ran on this system and has ended.
func (h *holder) gone() bool {
	_, err := process.Of(h.PID)
	return h.here() && errors.Is(err, process.ErrGone)
}

// HeldError means that a process holds the lock of a directory but does not answer as its
// daemon.
type HeldError struct {
	Path    string    // of the lock file
	PID     int       // of the holder; 0 if unknown
	Program string    // that the holder runs; "" if unknown
	Host    string    // of the holder; "" if it is this machine or unknown
	Since   time.Time // when the holder started; zero if unknown
}

func (e *HeldError) Error() string {
	since := ""
	if !e.Since.IsZero() {
		since = " since " + e.Since.Local().Format("2006-01-02 15:04:05")
	}
	const elsewhere = "set CLAUDEMESH_CONFIG_DIR to a directory that only this machine uses"
	switch {
	case e.Host != "":
		return fmt.Sprintf("a daemon on another machine or in another container (host %s, process %d) holds %s%s; run `claudemesh daemon down` there, or %s",
			e.Host, e.PID, e.Path, since, elsewhere)
	case e.Program != "":
		return fmt.Sprintf("process %d (%s) holds %s%s but does not answer as a daemon; end it, or %s", e.PID, e.Program, e.Path, since, elsewhere)
	case e.PID != 0:
		return fmt.Sprintf("process %d holds %s%s but does not answer as a daemon; end it, or %s", e.PID, e.Path, since, elsewhere)
	}
	return fmt.Sprintf("a process on another machine or in another container holds %s; end it, or %s", e.Path, elsewhere)
}

// held describes the process that holds the lock of a directory.
func held(dir peer.Dir) *HeldError {
	e := &HeldError{Path: dir.Path(lockName)}
	written, _ := readHolder(dir) // if unreadable, the holder is unknown
	pid, known := process.Locker(e.Path)
	switch {
	case known: // by a process that is visible here
		e.PID, e.Program = pid, process.Program(pid)
		if written.PID == pid && written.here() {
			e.Since = written.Since
		}
	case written.PID != 0 && !written.here():
		e.PID, e.Host, e.Since = written.PID, written.Host, written.Since
	case written.PID != 0 && !process.CanTellLocker:
		e.PID, e.Since = written.PID, written.Since
	}
	return e
}

func readHolder(dir peer.Dir) (h holder, err error) {
	b, err := os.ReadFile(dir.Path(lockName))
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(b, &h)
}

// takeLock takes the lock of a directory and writes the holder into its file. It returns
// errRunning if another daemon holds the lock. It returns a *HeldError if a daemon on another
// machine is alive although the file system grants both the lock.
func takeLock(dir peer.Dir) (*peer.FileLock, error) {
	lock, err := tryLock(dir)
	if errors.Is(err, peer.ErrLocked) {
		return nil, errRunning
	}
	if err != nil {
		return nil, err
	}
	if err := elsewhere(dir, lock); err != nil {
		lock.Unlock()
		return nil, err
	}
	host, _ := os.Hostname()
	b, err := json.Marshal(holder{os.Getpid(), host, process.Boot(), time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		err = lock.Write(b)
	}
	if err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("write the lock file: %w", err)
	}
	return lock, nil
}

// tryLock takes the lock of a directory. A program that only tests whether a daemon runs holds
// the lock for a moment, so if no living daemon is known to hold it, tryLock waits for up to
// strangerPatience.
func tryLock(dir peer.Dir) (*peer.FileLock, error) {
	for deadline := time.Now().Add(strangerPatience); ; time.Sleep(startPoll) {
		lock, err := peer.TryLock(dir.Path(lockName))
		if !errors.Is(err, peer.ErrLocked) || time.Now().After(deadline) {
			return lock, err
		}
		if h, err := readHolder(dir); err == nil && h.PID != 0 && !h.gone() {
			return nil, peer.ErrLocked
		}
	}
}

// elsewhere returns an error if a daemon on another system is alive although this one has the
// lock. That happens on file systems that don't share locks between systems.
func elsewhere(dir peer.Dir, lock *peer.FileLock) error {
	before, _ := readHolder(dir) // if unreadable, the holder is unknown
	if before.PID == 0 || before.here() {
		return nil
	}
	if age, err := sinceSign(dir, lock); err != nil || age > signLimit {
		return err
	}
	return &HeldError{Path: dir.Path(lockName), PID: before.PID, Host: before.Host, Since: before.Since}
}

// sinceSign returns the time since the lock file was last written, by the clock of its file
// system. The clocks of two machines may differ.
func sinceSign(dir peer.Dir, lock *peer.FileLock) (time.Duration, error) {
	signed, err := lock.Stat()
	if err != nil {
		return 0, err
	}
	probe, err := os.CreateTemp(string(dir), lockName+".*.tmp")
	if err != nil {
		return 0, err
	}
	defer os.Remove(probe.Name())
	defer probe.Close()
	now, err := probe.Stat()
	if err != nil {
		return 0, err
	}
	return now.ModTime().Sub(signed.ModTime()), nil
}

// released removes the holder from the lock file so that no other machine waits for it.
func released(lock *peer.FileLock) {
	_ = lock.Write(nil) // if that fails, other machines wait for signLimit
	lock.Unlock()
}

// rememberFiles records which directory and files belong to the daemon.
func (d *daemon) rememberFiles() (err error) {
	if d.dir, err = os.Stat(string(d.o.Dir)); err != nil {
		return fmt.Errorf("check the directory: %w", err)
	}
	d.files = make(map[string]os.FileInfo)
	for _, name := range []string{store.FileName, inbox.FileName} {
		if d.files[name], err = os.Stat(d.o.Dir.Path(name)); err != nil {
			return fmt.Errorf("check %s: %w", name, err)
		}
	}
	return nil
}

// holdLock keeps the lock file where other programs look for it, and touches it to show that
// the daemon is alive. It returns errDirLost if the directory was replaced or the daemon's
// files are gone, since nobody would read what the daemon writes.
func (d *daemon) holdLock(now time.Time) error {
	dir, err := os.Stat(string(d.o.Dir))
	if err == nil && !os.SameFile(dir, d.dir) || os.IsNotExist(err) {
		return errDirLost
	}
	for name, file := range d.files {
		if info, err := os.Stat(d.o.Dir.Path(name)); os.IsNotExist(err) || err == nil && !os.SameFile(info, file) {
			return errDirLost
		}
	}
	held, err := d.lock.Stat()
	if err != nil {
		return err
	}
	info, err := os.Stat(d.o.Dir.Path(lockName))
	if err == nil && os.SameFile(info, held) {
		if now.Sub(d.signed) < signEvery {
			return nil
		}
		d.signed = now
		return d.lock.Touch()
	}
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	next, err := takeLock(d.o.Dir)
	if errors.Is(err, errRunning) {
		if other, err := readHolder(d.o.Dir); err == nil && other.PID != 0 {
			return errDirLost // another daemon took the lock first
		}
		return err // another program is testing the lock
	}
	if err != nil {
		return err
	}
	d.lock.Unlock()
	d.lock = next
	d.log.Warn("somebody deleted the lock file; created it again", "path", d.o.Dir.Path(lockName))
	return nil
}

// heal recreates what other programs need to reach the daemon if somebody deleted it: the
// socket, the announcement and the tickets.
func (d *daemon) heal() {
	d.changes.Lock()
	defer d.changes.Unlock()
	if d.ctx.Err() != nil {
		return // the daemon is stopping: recreate nothing
	}
	var errs []error
	defer func() { d.troubled(disk.Unwritable(d.o.Dir, errors.Join(errs...))) }()
	info := d.reach()
	if d.socket.lost(info.Socket) {
		path, err := d.socket.open(d)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen again after the socket was deleted: %w", err))
			return
		}
		d.log.Warn("the socket was deleted; listening again", "socket", path)
		info.Socket = path
		d.mu.Lock()
		d.info = info
		d.mu.Unlock()
	}
	if said, err := local.ReadInfo(d.o.Dir); err != nil || said != info {
		if err := d.announce(); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range d.running() {
		if info, err := os.Lstat(local.TicketPath(d.o.Dir, p.Number)); err == nil && info.Mode().IsRegular() {
			continue
		}
		if err := d.writeTicket(p.Process); err != nil {
			errs = append(errs, err)
		}
	}
}

// troubled logs once why the daemon can't heal, and once when it can again.
func (d *daemon) troubled(err error) {
	text := ""
	if err != nil {
		text = withoutTemporary(err.Error())
	}
	switch {
	case text == d.trouble:
		return
	case err != nil:
		d.log.Error("some programs can't reach the daemon", "error", err)
	default:
		d.log.Info("all programs can reach the daemon again")
	}
	d.trouble = text
}

// temporary matches the random part in the name of a temporary file that is to replace another
// file.
var temporary = regexp.MustCompile(`\.[0-9]+\.tmp`)

func withoutTemporary(text string) string { return temporary.ReplaceAllString(text, ".tmp") }
