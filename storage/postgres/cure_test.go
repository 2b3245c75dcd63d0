package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage"
)

// well waits until both a commit and a check succeed.
func well(t *testing.T, s *Store, seq *int64) {
	t.Helper()
	eventually(t, "a commit and a check", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		*seq++
		return errors.Join(commitOne(s, *seq, 5*time.Second), s.Ping(ctx))
	})
}

// ill waits until a commit and a check fail for the given reason.
func ill(t *testing.T, s *Store, seq *int64, reason storage.Reason) {
	t.Helper()
	eventually(t, "a commit and a check that fail", func() error {
		*seq++
		ping, commit := s.Ping(t.Context()), commitOne(s, *seq, 5*time.Second)
		if ping == nil || commit == nil || storage.ReasonOf(ping) != reason || storage.ReasonOf(commit) != reason {
			return fmt.Errorf("ping: %w (%s), commit: %w (%s); want %s", ping, storage.ReasonOf(ping), commit, storage.ReasonOf(commit), reason)
		}
		return nil
	})
}

const endBackends = `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'claudemesh'`

func TestBackendsEnded(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := claimed(t, server.DSN())
	var seq int64
	for range 3 {
		well(t, s, &seq)
		server.Exec(endBackends)
	}
	well(t, s, &seq)
}

// TestReadOnlySpell checks that the store recovers after the database was read-only for a
// while. Sessions that began in that time stay read-only.
func TestReadOnlySpell(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := claimed(t, server.DSN())
	var seq int64
	well(t, s, &seq)
	server.Exec(`ALTER DATABASE postgres SET default_transaction_read_only = on`)
	server.Exec(endBackends)
	ill(t, s, &seq, storage.ReadOnly)
	server.Exec(`SET TRANSACTION READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only`)
	well(t, s, &seq)
}

func TestFailover(t *testing.T) {
	t.Parallel()
	a, b := pgtest.Start(t, pgtest.Durable()), pgtest.Start(t, pgtest.Durable())
	b.Follow(a)
	s := claimed(t, pgtest.DSNOfPair(a, b))
	var seq int64
	well(t, s, &seq)
	a.Pause() // a host that does not answer must not keep the store from the other one
	b.Promote()
	well(t, s, &seq)
	if s.config.ConnectTimeout != hostTimeout {
		t.Errorf("got connect timeout %s, want %s", s.config.ConnectTimeout, hostTimeout)
	}
}

// TestFailoverLeavesNoOldConnections reads after a failover while the old server still does not answer. No read may come
// by a connection to it.
func TestFailoverLeavesNoOldConnections(t *testing.T) {
	t.Parallel()
	a, b := pgtest.Start(t, pgtest.Durable()), pgtest.Start(t, pgtest.Durable())
	b.Follow(a)
	s := claimed(t, pgtest.DSNOfPair(a, b))
	var idle []*pgxpool.Conn
	for range poolSize {
		conn, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, conn)
	}
	for _, conn := range idle {
		conn.Release()
	}
	a.Pause()
	await.Until(t, "the lease has run out", func() bool { return errors.Is(s.Claimed(), storage.ErrSuspended) })
	b.Promote()
	await.Until(t, "the lease is renewed", func() bool { return s.Claimed() == nil })
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	for range poolSize {
		if _, err := s.Nodes(ctx); err != nil {
			t.Fatalf("a read after the failover: %v", err)
		}
	}
}

// TestChangedPassword checks that an open store follows a password that changes in a file.
func TestChangedPassword(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	server.AskPasswords()
	server.Exec(`CREATE ROLE app LOGIN PASSWORD 'first'; CREATE SCHEMA claudemesh AUTHORIZATION app`)
	u, err := url.Parse(server.DSN())
	if err != nil {
		t.Fatal(err)
	}
	passfile := filepath.Join(t.TempDir(), "passfile")
	u.User = url.User("app")
	u.RawQuery += "&passfile=" + url.QueryEscape(passfile)
	dsn := filepath.Join(t.TempDir(), "dsn")
	change := map[string]func(password string){
		"in the passfile": func(password string) { write(t, passfile, "127.0.0.1:*:*:app:"+password) },
		"in the dsn": func(password string) {
			v := *u
			v.User = url.UserPassword("app", password)
			write(t, dsn, v.String())
		},
	}
	for name, change := range change {
		t.Run(name, func(t *testing.T) {
			server.Exec(`ALTER ROLE app PASSWORD 'first'`)
			write(t, dsn, u.String())
			change("first")
			s, err := OpenWith(func() (string, error) {
				text, err := os.ReadFile(dsn)
				return string(text), err
			})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := errors.Join(s.Migrate(t.Context()), s.Claim(t.Context())); err != nil {
				t.Fatal(err)
			}
			var seq int64
			server.Exec(`TRUNCATE claudemesh.deliveries`)
			well(t, s, &seq)
			server.Exec(`ALTER ROLE app PASSWORD 'second'`)
			server.Exec(endBackends)
			ill(t, s, &seq, storage.Refused)
			change("second")
			well(t, s, &seq)
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRoleWithItsSchemaOnly(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	server.Exec(`CREATE ROLE app LOGIN; CREATE SCHEMA claudemesh AUTHORIZATION app; REVOKE ALL ON SCHEMA public FROM PUBLIC;
		REVOKE ALL ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO app`)
	s := claimed(t, strings.Replace(server.DSN(), "postgres@", "app@", 1))
	var seq int64
	well(t, s, &seq)
	// Without its schema, the role cannot look for the tables. The error says what to do.
	server.Exec(`DROP SCHEMA claudemesh CASCADE`)
	other := open(t, strings.Replace(server.DSN(), "postgres@", "app@", 1))
	defer other.Close()
	if err := other.Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), "CREATE SCHEMA claudemesh AUTHORIZATION") ||
		storage.ReasonOf(err) != storage.Refused {
		t.Errorf("migrate without a schema: got %v, want an error that says how to create it", err)
	}
}

func TestPgBouncer(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := claimed(t, server.Pooler("session"))
	var seq int64
	well(t, s, &seq)
	var setting string
	if err := s.pool.QueryRow(t.Context(), `SHOW enable_seqscan`).Scan(&setting); err != nil || setting != "off" {
		t.Errorf("got enable_seqscan %q, %v; want off", setting, err)
	}
	for _, mode := range []string{"transaction", "statement"} {
		shared := open(t, server.Pooler(mode))
		defer shared.Close()
		for name, do := range map[string]func(context.Context) error{"migrate": shared.Migrate, "claim": shared.Claim, "ping": shared.Ping} {
			if err := do(t.Context()); !errors.Is(err, storage.ErrUnfit) || !strings.Contains(err.Error(), "pool_mode = session") {
				t.Errorf("%s in %s mode: got error %v, want ErrUnfit", name, mode, err)
			}
		}
	}
}

// TestPingStoresAMessage checks that Ping detects everything that keeps the store from
// storing a message, and leaves nothing behind.
func TestPingStoresAMessage(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	server.Exec(`CREATE ROLE app LOGIN; CREATE SCHEMA claudemesh AUTHORIZATION app`)
	s := claimed(t, strings.Replace(server.DSN(), "postgres@", "app@", 1))
	var seq int64
	for _, table := range []string{"messages", "bodies", "deliveries", "audit_entries", "audit_heads"} {
		for _, test := range []struct {
			begin, end string
			reason     storage.Reason
		}{
			{`REVOKE INSERT ON claudemesh.%s FROM app`, `GRANT INSERT ON claudemesh.%s TO app`, storage.Refused},
			{`ALTER TABLE claudemesh.%s RENAME TO gone`, `ALTER TABLE claudemesh.gone RENAME TO %s`, storage.Failed},
		} {
			well(t, s, &seq)
			server.Exec(fmt.Sprintf(test.begin, table))
			if err := s.Ping(t.Context()); storage.ReasonOf(err) != test.reason {
				t.Errorf("%s: got %v with reason %s, want reason %s", fmt.Sprintf(test.begin, table), err, storage.ReasonOf(err), test.reason)
			}
			server.Exec(fmt.Sprintf(test.end, table))
		}
	}
	well(t, s, &seq)
	s.failing.Store(true) // the next check stores a large message
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	server.Exec(fmt.Sprintf(`DO $$ BEGIN IF EXISTS (SELECT FROM claudemesh.messages WHERE mesh_id <> '%[1]x') OR
			EXISTS (SELECT FROM claudemesh.bodies WHERE mesh_id <> '%[1]x') OR
			EXISTS (SELECT FROM claudemesh.deliveries WHERE mesh_id <> '%[1]x') OR
			EXISTS (SELECT FROM claudemesh.audit_entries) OR EXISTS (SELECT FROM claudemesh.audit_heads)
		THEN RAISE EXCEPTION 'a check has left something behind'; END IF; END $$`, box.Mesh[:]))
}

// TestPingBesideABusyPool checks that Ping succeeds although all connections of the pool
// are in use.
func TestPingBesideABusyPool(t *testing.T) {
	t.Parallel()
	s := claimed(t, pgtest.DSN(t))
	for range s.pool.Config().MaxConns {
		conn, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	s.writes <- struct{}{}
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	<-s.writes
}

// TestReasonOfStrangeCode checks that an error whose code no server sends does no harm.
func TestReasonOfStrangeCode(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]storage.Reason{
		"": storage.Failed, "5": storage.Failed, "57": storage.Failed, "57014": storage.Failed, "57P01": storage.Unreachable,
		"08P01": storage.Unreachable, "53300": storage.Unreachable, "53100": storage.Full, "28P01": storage.Refused, "25006": storage.ReadOnly,
	} {
		if got := reasonOf(&pgconn.PgError{Code: code}); got != want {
			t.Errorf("code %q: got reason %s, want %s", code, got, want)
		}
	}
}
