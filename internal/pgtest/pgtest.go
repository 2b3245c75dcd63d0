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
)

// Variable is the environment variable that names a server for the tests: a DSN
// whose user may create databases. Without it, they start their own.
const Variable = "CLAUDEMESH_TEST_POSTGRES"

var shared struct {
	mu      sync.Mutex
	cluster *cluster
	err     error // why there is none
}

// Main runs a package's tests, removes what DSN left behind, and exits.
func Main(m *testing.M) {
	code := m.Run()
	if err := Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
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
	return c.remove()
}

// DSN makes an empty database, which lives as long as the test, and returns its
// DSN. The server it is on does not sync to disk, unless Variable names another.
func DSN(t testing.TB) string {
	t.Helper()
	admin := os.Getenv(Variable)
	if admin == "" {
		shared.mu.Lock()
		if shared.cluster == nil && shared.err == nil {
			shared.cluster, shared.err = newCluster(false)
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

// createDatabase makes a database on a server, and returns its DSN.
func createDatabase(t testing.TB, admin string) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	execute(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { execute(t, admin, "DROP DATABASE "+name+" WITH (FORCE)") })
	// Later settings of a DSN of key=value pairs win; in a URL the database is the path.
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

type options struct{ durable bool }

// Durable makes a server sync to disk, as in production.
func Durable() Option { return func(o *options) { o.durable = true } }

// Server is a Postgres of a test's own. Its methods end the test when they can't
// do what they are for; they are not safe for concurrent use.
type Server struct {
	t       testing.TB
	cluster *cluster
	frozen  []int
}

// Start starts a server with an empty database, for the length of the test.
// Variable does not matter to it.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	var o options
	for _, set := range opts {
		set(&o)
	}
	c, err := newCluster(o.durable)
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

// DSN returns the server's DSN. It stays the same over restarts.
func (s *Server) DSN() string { return s.cluster.dsn("postgres") }

// Stop ends the server orderly, cutting off its clients ("fast shutdown").
func (s *Server) Stop() {
	s.t.Helper()
	s.check(s.cluster.end(syscall.SIGINT))
}

// Kill ends all processes of the server with SIGKILL, like a crash.
func (s *Server) Kill() {
	s.t.Helper()
	s.check(s.cluster.end(syscall.SIGKILL))
}

// Restart stops the server if it runs, starts it, and waits until it answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.check(s.cluster.start())
}

// Pause freezes all processes of the server: connections stay open and nobody
// answers, as when a network drops packets.
func (s *Server) Pause() {
	s.t.Helper()
	if s.cluster.process == nil {
		s.t.Fatal("pgtest: the server does not run")
	}
	// The postmaster first, so that it makes no new children; then see who there is.
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

// Exec runs SQL on the server, for tests that look behind the back of what they test.
func (s *Server) Exec(sql string) {
	s.t.Helper()
	execute(s.t, s.DSN(), sql)
}
