package tests

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/disktest"
	"github.com/claudemesh/claudemesh/peer"
)

// TestDoctorOfThisMachine checks what doctor reports for each condition of the machine: the
// problem and what to do about it. Doctor reports nothing for a condition that claudemesh
// repairs itself.
func TestDoctorOfThisMachine(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(refusing.Close)
	nobody := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	unit := func(p *patient, program string) {
		p.write(filepath.Join(filepath.Dir(p.dir), "config", "systemd", "user", "claudemesh-daemon.service"),
			"[Service]\nExecStart=\""+program+"\" daemon run\n")
	}
	proxies := func(p *patient, url string) {
		p.env = append(slices.DeleteFunc(p.env, func(v string) bool { return strings.Contains(strings.ToLower(v), "_proxy=") }), "ALL_PROXY="+url)
	}
	const setProxy, ownDir = "correct HTTPS_PROXY (for wss), HTTP_PROXY (for ws) or ALL_PROXY", "set CLAUDEMESH_CONFIG_DIR to a directory that only this machine uses"
	for _, tc := range []struct {
		name   string
		make   func(*patient)
		args   []string
		check  string
		says   []string // empty if healthy
		silent bool     // whether doctor skips the check
	}{
		{name: "proxy refuses, ws", make: func(p *patient) { proxies(p, refusing.URL) }, args: []string{"--broker", "ws://mesh.invalid/ws"},
			check: "broker", says: []string{"reach mesh.invalid:80 through the proxy", "407 Proxy Authentication Required", setProxy, "NO_PROXY"}},
		{name: "proxy refuses, wss", make: func(p *patient) { proxies(p, refusing.URL) }, args: []string{"--broker", "wss://mesh.invalid/ws"},
			check: "broker", says: []string{"through the proxy", "407 Proxy Authentication Required", setProxy, "NO_PROXY"}},
		{name: "no proxy there, ws", make: func(p *patient) { proxies(p, "http://"+nobody) }, args: []string{"--broker", "ws://mesh.invalid/ws"},
			check: "broker", says: []string{"proxy", nobody, setProxy}},
		{name: "no proxy there, wss", make: func(p *patient) { proxies(p, "http://"+nobody) }, args: []string{"--broker", "wss://mesh.invalid/ws"},
			check: "broker", says: []string{"proxy", nobody, setProxy}},
		{name: "no SOCKS proxy there", make: func(p *patient) { proxies(p, "socks5://"+nobody) }, args: []string{"--broker", "wss://mesh.invalid/ws"},
			check: "broker", says: []string{"proxy", nobody, setProxy}},
		{name: "lock held by another machine", make: func(p *patient) {
			lock := filepath.Join(p.dir, "daemon.lock")
			p.write(lock, `{"pid":4711,"host":"attic","boot":"another","since":"2026-01-02T03:04:05Z"}`)
			// The lock's time shows that its holder is alive, for as long as this test takes.
			if err := os.Chtimes(lock, time.Time{}, time.Now().Add(time.Hour)); err != nil {
				p.t.Fatal(err)
			}
		}, check: "daemon", says: []string{"attic", "4711", "`claudemesh daemon down` there", ownDir}},
		{name: "lock held by a stranger", make: func(p *patient) { p.lock() },
			check: "daemon", says: []string{fmt.Sprint("process ", os.Getpid()), "does not answer as a daemon; end it", ownDir}},
		{name: "service of a program that is gone", make: func(p *patient) { unit(p, "/opt/claudemesh-1.0/bin/claudemesh") },
			check: "service", says: []string{`"/opt/claudemesh-1.0/bin/claudemesh", which does not exist`, "daemon install-service` again"}},
		{name: "service of this program", make: func(p *patient) { unit(p, commands.Claudemesh) }, check: "service"},
		{name: "no service", make: func(*patient) {}, check: "service", silent: true},
		{name: "socket deleted", make: func(p *patient) {
			p.must("daemon", "up")
			if err := os.Remove(p.socket()); err != nil {
				p.t.Fatal(err)
			}
		}, check: "daemon"},
		{name: "read-only store", make: func(p *patient) { p.spoil("daemon.db", disktest.ReadOnly) },
			check: "files", says: []string{"daemon.db is read-only", "make it writable, or set CLAUDEMESH_CONFIG_DIR"}},
		{name: "read-only inbox", make: func(p *patient) { p.spoil("inbox.db", disktest.ReadOnly) },
			check: "files", says: []string{"inbox.db is read-only", "make it writable, or set CLAUDEMESH_CONFIG_DIR"}},
		{name: "read-only lock", make: func(p *patient) { p.spoil("daemon.lock", disktest.ReadOnly) },
			check: "daemon", says: []string{"daemon.lock is read-only", "make it writable, or set CLAUDEMESH_CONFIG_DIR"}},
		{name: "announcement that can't be replaced", make: func(p *patient) { p.spoil("daemon.json", disktest.Busy) },
			check: "delivery", says: []string{"daemon.json can't be replaced while something is mounted on it; unmount that"}},
		{name: "full disk", make: func(p *patient) {
			// A full disk under existing files.
			disktest.Small(p.t, p.dir)
			p.must("create", "tight")
			disktest.Fill(p.t, filepath.Join(p.dir, "filler"))
		}, check: "files", says: []string{"the disk of ", " is full; make room on it"}},
		{name: "a file for the tickets", make: func(p *patient) { p.write(filepath.Join(p.dir, "run"), "") }, check: "delivery"},
		{name: "socket that can't be written", make: func(p *patient) {
			p.write(filepath.Join(p.dir, "daemon.sock", "in the way"), "")
		}, check: "delivery"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			alice := newPatient(t, s)
			alice.must("create", "team")
			alice.t = t
			tc.make(alice)
			found, code := alice.diagnose(tc.args...)
			f := found[tc.check]
			switch {
			case tc.silent:
				if f != nil {
					t.Errorf("%v", f)
				}
			case len(tc.says) == 0:
				if code != 0 || f["ok"] != true {
					t.Errorf("exit code %d, %v", code, found)
				}
			default:
				if code != 1 || f["ok"] != false {
					t.Errorf("exit code %d, %v", code, found)
				}
				for _, part := range tc.says {
					if !strings.Contains(f.str("detail"), part) {
						t.Errorf("no %q in %s", part, f.str("detail"))
					}
				}
			}
		})
	}
}

func (p *patient) write(path, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// spoil runs the daemon once and changes a file that it leaves, until the test ends.
func (p *patient) spoil(name string, how func(testing.TB, string) func()) {
	p.t.Helper()
	p.must("daemon", "up")
	p.must("daemon", "down")
	path := filepath.Join(p.dir, name)
	if _, err := os.Stat(path); err != nil {
		p.write(path, "")
	}
	how(p.t, path)
}

// lock holds the daemon's lock until the test ends.
func (p *patient) lock() {
	p.t.Helper()
	lock, err := peer.TryLock(filepath.Join(p.dir, "daemon.lock"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(lock.Unlock)
}

// socket returns the path of the socket on which the patient's daemon listens.
func (p *patient) socket() string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "daemon.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	path := parse(p.t, string(b)).str("socket")
	if conn, err := net.Dial("unix", path); err != nil {
		p.t.Fatal(err)
	} else {
		conn.Close()
	}
	return path
}
