package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/netns"
)

// Variable is the environment variable that names a server for the tests: a DSN whose
// user may create databases. Without it, the tests start their own server.
const Variable = "CLAUDEMESH_TEST_POSTGRES"

var shared struct {
	mu      sync.Mutex
	cluster *cluster
	err     error // why there is no server
}

// Main runs a package's tests, removes the shared cluster, and exits.
func Main(m *testing.M) {
	code := m.Run()
	if err := Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Shutdown removes the shared cluster, if there is one. It is for packages whose
// TestMain does more than Main.
func Shutdown() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.cluster == nil {
		return nil
	}
	c := shared.cluster
	shared.cluster = nil
	if err := c.remove(); err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	return nil
}

// DSN creates an empty database, which exists as long as the test runs, and returns its
// DSN. The shared server doesn't sync to disk; a server that Variable names may.
func DSN(t testing.TB) string {
	t.Helper()
	admin := os.Getenv(Variable)
	if admin == "" {
		shared.mu.Lock()
		if shared.cluster == nil && shared.err == nil {
			shared.cluster, shared.err = newCluster(options{})
		}
		c, err := shared.cluster, shared.err
		shared.mu.Unlock()
		if err != nil {
			t.Fatalf("pgtest: %v", err)
		}
		admin = c.dsn("postgres")
	}
	return createDatabase(t, admin)
}

// Tools returns the directory of pg_dump and the like.
func Tools(t testing.TB) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return dir
}

// createDatabase creates a database on a server and returns its DSN.
func createDatabase(t testing.TB, admin string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	execute(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, admin, "DROP DATABASE "+name+" WITH (FORCE)") })
	// In a URL the path names the database; among key=value pairs, the last dbname wins.
	if base, query, _ := strings.Cut(admin, "?"); strings.Contains(base, "://") {
		scheme, rest, _ := strings.Cut(base, "://")
		host, _, _ := strings.Cut(rest, "/")
		return scheme + "://" + host + "/" + name + "?" + query
	}
	return admin + " dbname=" + name
}

func execute(t testing.TB, dsn, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatalf("pgtest: connect: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("pgtest: %s: %v", sql, err)
	}
}

// Option changes a Server.
type Option func(*options)

type options struct {
	durable bool
	host    *netns.Host
}

// Durable makes a server sync to disk, like in production.
func Durable() Option { return func(o *options) { o.durable = true } }

// On starts a server on a host of a network, where everybody reaches it.
func On(h *netns.Host) Option { return func(o *options) { o.host = h } }

// Server is a test's own Postgres. Its methods fail the test on error. They aren't safe
// for concurrent use.
type Server struct {
	t       testing.TB
	cluster *cluster
	frozen  []int
}

// Start starts a server with an empty database, for the duration of the test. It ignores
// Variable.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	var o options
	for _, set := range opts {
		set(&o)
	}
	c, err := newCluster(o)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	s := &Server{t: t, cluster: c}
	t.Cleanup(func() {
		s.Resume()
		s.check(c.remove())
	})
	return s
}

func (s *Server) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("pgtest: %v", err)
	}
}

// DSN returns the server's DSN, which is the same after a restart.
func (s *Server) DSN() string { return s.cluster.dsn("postgres") }

// Stop stops the server and disconnects its clients ("fast shutdown").
func (s *Server) Stop() {
	s.t.Helper()
	s.check(s.cluster.end(syscall.SIGINT))
}

// Kill kills all processes of the server with SIGKILL, like a crash.
func (s *Server) Kill() {
	s.t.Helper()
	s.check(s.cluster.end(syscall.SIGKILL))
}

// Restart stops the server, if it runs, starts it, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.check(s.cluster.start())
}

// Pause freezes all processes of the server: connections stay open but nobody answers,
// as if the network dropped all packets.
func (s *Server) Pause() {
	s.t.Helper()
	if s.cluster.process == nil {
		s.t.Fatal("pgtest: the server isn't running")
	}
	// Freeze the postmaster first, so that it starts no new children.
	s.check(syscall.Kill(s.cluster.process.Pid, syscall.SIGSTOP))
	s.frozen = s.cluster.processes()
	for _, pid := range s.frozen[1:] {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && err != syscall.ESRCH {
			s.check(err)
		}
	}
}

// Resume ends a Pause.
func (s *Server) Resume() {
	s.t.Helper()
	for _, pid := range s.frozen {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && err != syscall.ESRCH {
			s.check(err)
		}
	}
	s.frozen = nil
}

// Exec runs SQL on the server, for tests that change the database directly.
func (s *Server) Exec(sql string) {
	s.t.Helper()
	execute(s.t, s.DSN(), sql)
}
