package daemon

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/internal/identitytest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
)

// slowToEnd is an http.RoundTripper whose requests end some time after their context.
type slowToEnd struct {
	open  atomic.Int64
	begun chan struct{} // capacity 1: a request has begun
}

func (s *slowToEnd) RoundTrip(r *http.Request) (*http.Response, error) {
	s.open.Add(1)
	defer s.open.Add(-1)
	kick(s.begun)
	<-r.Context().Done()
	time.Sleep(time.Minute) // of the bubble's clock: it passes only while Run waits
	return nil, r.Context().Err()
}

// writerFunc is an io.Writer.
type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestRunWaitsWhenItCannotListen checks that Run waits for the connections that it has begun,
// also if the daemon then can't open a socket. They use the databases that Run closes.
func TestRunWaitsWhenItCannotListen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, runWaitsWhenItCannotListen)
}

func runWaitsWhenItCannotListen(t *testing.T) {
	u := newUser(t, "alice")
	for _, path := range local.SocketPaths(u.dir) {
		if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(path) })
	}
	err := peer.UpdateConfig(t.Context(), u.dir, func(c *peer.Config) error {
		for _, slug := range []string{"a", "b"} {
			c.Put(peer.Mesh{
				MeshID: "mesh-" + slug, MemberID: "member", Slug: slug, Name: slug, Member: identitytest.Pair(t),
				BrokerURL: "ws://broker.invalid/ws", Key: envelope.NewMeshKey(),
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	requests := slowToEnd{begun: make(chan struct{}, 1)}
	joined := 0
	log := writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "mesh joined") {
			if joined++; joined == 2 {
				<-requests.begun // of the first mesh
			}
		}
		return len(b), nil
	})
	err = Run(t.Context(), Options{
		Dir: u.dir, HTTPClient: &http.Client{Transport: &requests}, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if n := requests.open.Load(); n != 0 {
		t.Errorf("%d connections were still open when Run returned", n)
	}
	if err == nil {
		t.Error("the daemon ran without a socket")
	}
}

// TestLockThatIsBeingTested checks that a daemon starts although another program, such as
// `claudemesh daemon status`, takes the lock for a moment to see whether a daemon runs.
func TestLockThatIsBeingTested(t *testing.T) {
	t.Parallel()
	synctest.Test(t, lockThatIsBeingTested)
}

func lockThatIsBeingTested(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	killed, err := json.Marshal(holder{PID: 1 << 30, Host: host, Boot: process.Boot()})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"no daemon ran before": nil, "the daemon before it was killed": killed} {
		dir := newUser(t, "alice").dir
		if err := os.WriteFile(dir.Path(lockName), text, 0o600); err != nil {
			t.Fatal(err)
		}
		test, err := peer.TryLock(dir.Path(lockName))
		if err != nil {
			t.Fatal(err)
		}
		taken := make(chan error, 1)
		go func() {
			lock, err := takeLock(dir)
			if err == nil {
				released(lock)
			}
			taken <- err
		}()
		synctest.Wait() // until takeLock has found the lock taken
		test.Unlock()
		if err := <-taken; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
