package pgtest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

func connect(t *testing.T, dsn string) (*pgx.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err == nil {
		t.Cleanup(func() { conn.Close(context.Background()) })
	}
	return conn, err
}

func mustConnect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := connect(t, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func setting(t *testing.T, conn *pgx.Conn, name string) (value string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestDSNGivesEmptyDatabases(t *testing.T) {
	t.Parallel()
	a, b := DSN(t), DSN(t)
	if a == b {
		t.Fatalf("the same database twice: %s", a)
	}
	for _, dsn := range []string{a, b} {
		if _, err := mustConnect(t, dsn).Exec(t.Context(), "CREATE TABLE things (n integer)"); err != nil {
			t.Error(err)
		}
	}
}

func TestServerFromEnvironment(t *testing.T) {
	s := Start(t)
	t.Setenv(Variable, s.DSN())
	conn := mustConnect(t, DSN(t))
	if got, want := int(conn.Config().Port), s.cluster.port; got != want {
		t.Errorf("the database is on port %d, want %d", got, want)
	}
}

func TestOutages(t *testing.T) {
	t.Parallel()
	s := Start(t, Durable())
	s.Exec("CREATE TABLE things (n integer)")
	conn := mustConnect(t, s.DSN())
	if got := setting(t, conn, "fsync"); got != "on" {
		t.Errorf("a durable server has fsync %s", got)
	}
	s.Pause()
	if _, err := connect(t, s.DSN()); err == nil {
		t.Error("a frozen server answers")
	}
	s.Resume()
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the connection doesn't survive a pause: %v", err)
	}
	for name, outage := range map[string]func(){"stop": s.Stop, "kill": s.Kill} {
		s.Exec("INSERT INTO things VALUES (1)")
		outage()
		if _, err := connect(t, s.DSN()); err == nil {
			t.Errorf("after %s, the server answers", name)
		}
		s.Restart()
	}
	var n int
	if err := mustConnect(t, s.DSN()).QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&n); err != nil || n != 2 {
		t.Errorf("%d rows after restarts, %v; want 2", n, err)
	}
}

func TestServerIsRemoved(t *testing.T) {
	t.Parallel()
	var dir string
	var pid int
	t.Run("with a server", func(t *testing.T) {
		s := Start(t)
		dir, pid = s.cluster.dir, s.cluster.process.Pid
		s.Pause() // a frozen server must end, too
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its files are still there: %v", err)
	}
	if parent(pid) >= 0 {
		t.Error("its process is still there")
	}
}
