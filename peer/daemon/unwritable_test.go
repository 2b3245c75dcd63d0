package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/disktest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

// TestStartInAnUnwritableDirectory checks that a daemon that can't write when it starts
// reports the reason, and starts once it can write.
func TestStartInAnUnwritableDirectory(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, file string
		spoil      func(t testing.TB, path string) (end func())
		says       string
	}{
		{"read-only store", store.FileName, disktest.ReadOnly, " is read-only"},
		{"read-only inbox", inbox.FileName, disktest.ReadOnly, " is read-only"},
		{"read-only lock", lockName, disktest.ReadOnly, " is read-only"},
		{"read-only directory", "", disktest.ReadOnly, " is read-only"},
		{"mounted announcement", local.InfoName, disktest.Busy, " can't be replaced while something is mounted on it; unmount that"},
		{"a directory for the lock", lockName, replace, " is a directory in the place of a file; move it away"},
		{"a directory for the store", store.FileName, replace, " is a directory in the place of a file; move it away"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := newUser(t, "alice").up()
			u.down()
			path := u.dir.Path(tc.file)
			if tc.file == local.InfoName {
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			end := tc.spoil(t, path)
			var e *disk.UnwritableError
			if err := Run(t.Context(), Options{Dir: u.dir}); !errors.As(err, &e) || !strings.Contains(e.Advice, filepath.Clean(path)) || !strings.Contains(e.Advice, tc.says) {
				t.Errorf("run: %v", err)
			}
			end()
			u.up()
		})
	}
}

// replace puts a directory in the place of a file until the caller calls end.
func replace(t testing.TB, path string) (end func()) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestObstaclesAreMovedAside checks that the daemon moves aside what stands in the way of
// its files, when it starts and while it runs.
func TestObstaclesAreMovedAside(t *testing.T) {
	t.Parallel()
	ticket := func(d peer.Dir, pid int) string { return local.TicketPath(d, process.Here(pid)) }
	run := func(d peer.Dir, pid int) string { return filepath.Dir(ticket(d, pid)) }
	for _, tc := range []struct {
		name  string
		where func(peer.Dir, int) string
		put   func(string) error
	}{
		{"a file for the tickets", run, func(path string) error { return os.WriteFile(path, []byte("mine"), 0o600) }},
		{"a link that leads nowhere for the tickets", run, func(path string) error { return os.Symlink("nowhere", path) }},
		{"a directory for a ticket", ticket, func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) }},
		{"a directory for the announcement", func(d peer.Dir, _ int) string { return d.Path(local.InfoName) },
			func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) }},
	} {
		for _, running := range []bool{true, false} {
			name := tc.name + ", at the start"
			if running {
				name = tc.name
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				u := newUser(t, "alice").up()
				p := u.program(uuid.NewString())
				if running {
					p.register()
				} else {
					u.down()
				}
				path := tc.where(u.dir, p.pid())
				await.Until(t, "something is in the way", func() bool { // the daemon may rewrite its file first
					return os.RemoveAll(path) == nil && tc.put(path) == nil
				})
				if !running {
					u.up()
					p.register()
				}
				await.Until(t, "the session's ticket leads to the daemon", func() bool {
					client, err := local.Session(u.dir, p.pid())
					return err == nil && client.Call(t.Context(), local.VerbUnread, nil, nil) == nil
				})
				if kept, err := filepath.Glob(path + ".aside-*"); err != nil || len(kept) != 1 {
					t.Errorf("put aside: %v, %v", kept, err)
				}
			})
		}
	}
}

// TestFullDisk checks that the daemon tells its callers when its disk is full. Messages
// from peers wait with the broker, and everything continues once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b, alice, bob := startBroker(t), newUser(t, "alice"), newUser(t, "bob")
	disktest.Small(t, string(bob.dir))
	alice.create(b, "team")
	alice.invite(bob)
	alice.up()
	bob.up()
	from, to := alice.session().connected(), bob.session().connected()
	key := to.key()
	long := strings.Repeat("x", 15<<10)
	filler := bob.dir.Path("filler")
	disktest.Fill(t, filler)
	for name, call := range map[string]func(n int) error{
		"register": func(n int) error {
			return bob.owner(local.VerbRegister, local.Register{PID: to.pid(), SessionID: to.id, Title: fmt.Sprint(n, long[:wire.MaxTextLen-20])}, nil)
		},
		"send": func(int) error { return to.call(local.VerbSend, local.Send{To: "alice", Text: long}, nil) },
	} {
		n := 0
		await.Until(t, name+" is refused", func() bool { // there may be room in the files
			n++
			err := call(n)
			var e *local.Error
			if err == nil || errors.As(err, &e) && e.Code == local.CodeRefused {
				return false
			}
			if e == nil || e.Code != local.CodeUnavailable || !strings.Contains(e.Message, "the disk of "+string(bob.dir)+" is full; make room on it") {
				t.Fatalf("%s: %v", name, err)
			}
			return true
		})
	}
	sent := from.send(key.String(), long)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if got := to.texts(1); got[0] != long {
		t.Errorf("got %d bytes", len(got[0]))
	}
	from.awaitState(sent.ID, local.InContext)
	bob.session().connected()
}
