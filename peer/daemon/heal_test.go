package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
)

// TestDeletedFilesAreRecreated checks that the daemon continues, and that other programs
// find it again, whichever of its files is deleted.
func TestDeletedFilesAreRecreated(t *testing.T) {
	t.Parallel()
	socket := func(d peer.Dir) string { return local.SocketPaths(d)[0] }
	lost := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		do   func(d peer.Dir, pid int)
	}{
		{"the socket", func(d peer.Dir, _ int) { lost(os.Remove(socket(d))) }},
		{"the socket, a file in its place", func(d peer.Dir, _ int) {
			lost(os.Remove(socket(d)))
			lost(os.WriteFile(socket(d), nil, 0o600))
		}},
		{"the socket, a directory in its place", func(d peer.Dir, _ int) {
			lost(os.Remove(socket(d)))
			lost(os.MkdirAll(filepath.Join(socket(d), "x"), 0o700))
		}},
		{"the announcement", func(d peer.Dir, _ int) { lost(os.Remove(d.Path(local.InfoName))) }},
		{"the announcement, another one in its place", func(d peer.Dir, _ int) {
			lost(os.WriteFile(d.Path(local.InfoName), []byte(`{"pid":1,"socket":"/x"}`), 0o600))
		}},
		{"the lock", func(d peer.Dir, _ int) { lost(os.Remove(d.Path(lockName))) }},
		{"a ticket", func(d peer.Dir, pid int) { lost(os.Remove(local.TicketPath(d, process.Here(pid)))) }},
		{"all tickets", func(d peer.Dir, pid int) { lost(os.RemoveAll(filepath.Dir(local.TicketPath(d, process.Here(pid))))) }},
		{"all of these", func(d peer.Dir, pid int) {
			for _, path := range []string{socket(d), d.Path(local.InfoName), d.Path(lockName), filepath.Dir(local.TicketPath(d, process.Here(pid)))} {
				lost(os.RemoveAll(path))
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t, "alice").up()
			p := u.program("0b5ad3c2-6f5e-4a7b-9c1d-2e3f40516273")
			p.register()
			tc.do(u.dir, p.pid())
			await.Until(t, "other programs find the daemon", func() bool {
				o := StartOptions{Dir: u.dir}
				_, ok := o.running(t.Context())
				return ok
			})
			await.Until(t, "the session's ticket leads to the daemon", func() bool {
				client, err := local.Session(u.dir, p.pid())
				if err != nil {
					return false
				}
				return client.Call(t.Context(), local.VerbUnread, nil, nil) == nil
			})
			await.Until(t, "the lock is where others look for it", func() bool {
				if _, err := os.Stat(u.dir.Path(lockName)); err != nil {
					return false
				}
				lock, err := peer.TryLock(u.dir.Path(lockName))
				if err == nil {
					lock.Unlock()
				}
				return errors.Is(err, peer.ErrLocked)
			})
			if err := Stop(t.Context(), u.dir, false); err != nil {
				t.Errorf("stop: %v", err)
			}
			u.stop = nil
			if err := <-u.ended; err != nil {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// TestUnreachableDaemonIsAwaited checks that a caller waits for a daemon that is
// temporarily unreachable, and does not consider it dead.
func TestUnreachableDaemonIsAwaited(t *testing.T) {
	t.Parallel()
	u := newUser(t, "alice").up(func(o *Options) { o.every = time.Second })
	if err := os.Remove(local.SocketPaths(u.dir)[0]); err != nil {
		t.Fatal(err)
	}
	info, err := Start(t.Context(), StartOptions{Dir: u.dir, Executable: "/no/such/program"})
	if err != nil || info.PID != os.Getpid() {
		t.Errorf("start: %+v, %v", info, err)
	}
	if err := os.Remove(local.SocketPaths(u.dir)[0]); err != nil {
		t.Fatal(err)
	}
	if err := Stop(t.Context(), u.dir, false); err != nil {
		t.Errorf("stop: %v", err)
	}
	u.stop = nil
	if err := <-u.ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestEndsWhenItsFilesAreGone checks that a daemon stops if its files were deleted, since
// nobody would read what it writes.
func TestEndsWhenItsFilesAreGone(t *testing.T) {
	t.Parallel()
	for _, name := range []string{store.FileName, inbox.FileName} {
		u := newUser(t, "alice").up()
		if err := os.Remove(u.dir.Path(name)); err != nil {
			t.Fatal(err)
		}
		if err := <-u.ended; !errors.Is(err, errDirLost) {
			t.Errorf("%s deleted: ended with %v", name, err)
		}
		u.stop = nil
	}
}

// TestSocketElsewhere checks that if the directory can't hold a socket, the daemon listens
// elsewhere.
func TestSocketElsewhere(t *testing.T) {
	t.Parallel()
	u := newUser(t, "alice")
	if err := os.MkdirAll(filepath.Join(local.SocketPaths(u.dir)[0], "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	u.up()
	info, err := local.ReadInfo(u.dir)
	if err != nil || info.Socket != local.SocketPaths(u.dir)[1] {
		t.Errorf("%+v, %v", info, err)
	}
}

// TestLockOfAStranger checks that a caller does not wait for an answer while a process that
// is not a daemon holds the lock.
func TestLockOfAStranger(t *testing.T) {
	t.Parallel()
	u := newUser(t, "alice")
	lock, err := peer.TryLock(u.dir.Path(lockName)) // this process is not a daemon of that directory
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	pid, program := os.Getpid(), process.Program(os.Getpid())
	if !process.CanTellLocker {
		pid, program = 0, ""
	}
	for name, call := range map[string]func(context.Context) error{
		"start": func(ctx context.Context) error { _, err := Start(ctx, StartOptions{Dir: u.dir}); return err },
		"stop":  func(ctx context.Context) error { return Stop(ctx, u.dir, false) },
	} {
		err := call(t.Context())
		var held *HeldError
		if !errors.As(err, &held) || held.PID != pid || held.Program != program ||
			!strings.Contains(err.Error(), u.dir.Path(lockName)) || strings.Contains(err.Error(), "broker") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDaemonOfAnotherMachine checks two machines that share a home directory but not its
// locks.
func TestDaemonOfAnotherMachine(t *testing.T) {
	t.Parallel()
	since := time.Now().Add(-time.Hour)
	text, err := json.Marshal(holder{PID: 7, Host: "attic", Boot: "another", Since: since})
	if err != nil {
		t.Fatal(err)
	}
	u := newUser(t, "alice")
	if err := os.WriteFile(u.dir.Path(lockName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if err := Run(t.Context(), Options{Dir: u.dir}); !errors.As(err, &held) || held.Host != "attic" || held.PID != 7 {
		t.Errorf("run: %v", err)
	}
	if _, err := Start(t.Context(), StartOptions{Dir: u.dir}); !errors.As(err, &held) || !strings.Contains(err.Error(), "attic") {
		t.Errorf("start: %v", err)
	}
	// That machine was switched off a while ago.
	then := time.Now().Add(-2 * signLimit)
	if err := os.Chtimes(u.dir.Path(lockName), then, then); err != nil {
		t.Fatal(err)
	}
	u.up()
}

// TestNetworkFileSystemIsLogged checks that the daemon serves a directory on a network file
// system, and warns about it.
func TestNetworkFileSystemIsLogged(t *testing.T) {
	t.Parallel()
	for kind, warned := range map[string]bool{"": false, "NFS": true} {
		var log lockedBuffer
		u := newUser(t, "alice").up(func(o *Options) {
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			o.fileSystem = func(string) string { return kind }
		})
		u.down()
		if strings.Contains(log.String(), "is on a network file system (NFS)") != warned {
			t.Errorf("on %q: %s", kind, log.String())
		}
	}
}
