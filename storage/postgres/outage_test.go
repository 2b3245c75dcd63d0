package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

var (
	ids wire.IDSource
	box = queue.Mailbox{Mesh: wire.ID{1}, Name: "s/a"}
)

// commitOne commits a message under a seq.
func commitOne(s *Store, seq int64, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err := s.Commit(ctx, &journal.Batch{Messages: []*queue.Accepted{{
		Message: queue.Message{ID: ids.New(time.Now()), MeshID: box.Mesh, SenderMember: wire.ID{2}, Priority: wire.Now,
			ClientID: fmt.Sprint(seq), CreatedAt: time.Now(), Ciphertext: "x"},
		Recipients: []queue.Recipient{{Seq: seq, Mailbox: box}},
	}}})
	return err
}

// eventually tries until do succeeds.
func eventually(t *testing.T, what string, do func() error) {
	t.Helper()
	deadline := time.After(await.Patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := do()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// claimed opens, migrates and claims a database.
func claimed(t *testing.T, dsn string) *Store {
	t.Helper()
	s := open(t, dsn)
	t.Cleanup(func() { s.Close() })
	if err := errors.Join(s.Claim(t.Context()), s.Migrate(t.Context())); err != nil {
		t.Fatal(err)
	}
	return s
}

// holder returns the process id of the connection that holds the broker's lock.
func holder(ctx context.Context, conn *pgx.Conn) (pid int, err error) {
	err = conn.QueryRow(ctx, `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
		AND (classid::bigint << 32 | objid::bigint) = $1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, int64(brokerLock)).Scan(&pid)
	return pid, err
}

// breakClaim ends the connection that holds the broker's lock, and waits for the end of it.
func breakClaim(t *testing.T, dsn string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	pid, err := holder(t.Context(), conn)
	if err != nil {
		t.Fatalf("who holds the lock: %v", err)
	}
	var ended bool
	if err := conn.QueryRow(t.Context(), `SELECT pg_terminate_backend($1, 10000)`, pid).Scan(&ended); err != nil || !ended {
		t.Fatalf("end the connection: %v, %v", ended, err)
	}
}

func TestRestartsOfPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Durable())
	s := claimed(t, server.DSN())
	var seq, stored int64
	for _, outage := range []func(){server.Kill, server.Stop, server.Kill} {
		for range 20 {
			seq++
			if err := commitOne(s, seq, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			stored++
		}
		outage()
		seq++
		if err := commitOne(s, seq, 10*time.Second); err == nil {
			t.Fatal("a commit succeeded without a server")
		}
		if err := s.Ping(t.Context()); err == nil {
			t.Fatal("there is no server, and the store is well")
		}
		server.Restart()
		eventually(t, "ping after a restart", func() error { return s.Ping(t.Context()) })
		if waiting, err := s.Backlog(t.Context(), box, 0, false, 1000); err != nil || int64(len(waiting)) != stored {
			t.Fatalf("%d deliveries, %v; %d were acknowledged", len(waiting), err, stored)
		}
	}
	// The claim came back, too.
	other := open(t, server.DSN())
	defer other.Close()
	eventually(t, "claim after restarts", func() error {
		conn, err := pgx.Connect(t.Context(), server.DSN())
		if err != nil {
			return err
		}
		defer conn.Close(t.Context())
		_, err = holder(t.Context(), conn)
		return err
	})
	if err := other.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("a second claim after restarts: %v", err)
	}
}

func TestFrozenPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := claimed(t, server.DSN())
	if err := commitOne(s, 1, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	server.Pause()
	if err := commitOne(s, 2, 100*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a commit to a frozen server: %v", err)
	}
	server.Resume()
	eventually(t, "commit after a pause", func() error { return commitOne(s, 3, time.Second) })
	// The second one's fate is not known to its sender; committing it again is no harm.
	eventually(t, "the same again", func() error { return commitOne(s, 2, time.Second) })
}

func TestCloseOfFrozenPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := claimed(t, server.DSN())
	server.Pause()
	failed := make(chan error, 1)
	go func() { failed <- commitOne(s, 1, time.Hour) }()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for _, c := range []chan error{failed, closed} {
		select {
		case err := <-c:
			if c == failed && err == nil {
				t.Error("a commit to a frozen server succeeded")
			}
		case <-time.After(await.Patience):
			t.Fatal("closing does not end what is under way")
		}
	}
}

func TestClaimIsKept(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := claimed(t, dsn)
	for seq := range int64(3) {
		breakClaim(t, dsn)
		// Nobody else has it: there is no reason to stop.
		if err := commitOne(s, seq+1, 10*time.Second); err != nil {
			t.Fatalf("commit while the claim's connection is lost: %v", err)
		}
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "claim again", func() error { _, err := holder(t.Context(), conn); return err })
		conn.Close(t.Context())
	}
	if err := errors.Join(s.Claim(t.Context()), s.Ping(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestClaimIsTakenOver(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := claimed(t, dsn), open(t, dsn)
	defer b.Close()
	if err := commitOne(a, 1, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	eventually(t, "take over", func() error { // a may be quicker
		breakClaim(t, dsn)
		return b.Claim(t.Context())
	})
	refused := map[string]func() error{
		"commit": func() error { return commitOne(a, 2, 10*time.Second) },
		"ping":   func() error { return a.Ping(t.Context()) },
		"claim":  func() error { return a.Claim(t.Context()) },
		"sweep":  func() error { _, err := a.Sweep(t.Context(), time.Now(), time.Now(), time.Now(), 1); return err },
		"prune":  func() error { _, err := a.PrunePresences(t.Context(), time.Now(), 1); return err },
	}
	for name, do := range refused {
		if err := do(); !errors.Is(err, storage.ErrInUse) {
			t.Errorf("%s of the one who lost the claim: %v", name, err)
		}
	}
	if err := commitOne(b, 2, 10*time.Second); err != nil {
		t.Errorf("commit of the one who took over: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// The lock is free now, and a gets it back; but what a remembers is out of date.
	eventually(t, "the end of the lost claim", func() error {
		select {
		case <-a.claim.ended:
			return nil
		default:
			return errors.New("still there")
		}
	})
	if err := commitOne(a, 3, 10*time.Second); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("commit after the other has gone: %v", err)
	}
	if err := a.Claim(t.Context()); err != nil {
		t.Fatalf("a new claim: %v", err)
	}
	if err := commitOne(a, 3, 10*time.Second); err != nil {
		t.Errorf("commit after a new claim: %v", err)
	}
	if waiting, err := a.Backlog(t.Context(), box, 0, false, 100); len(waiting) != 3 || err != nil {
		t.Errorf("%d deliveries, %v; want 3", len(waiting), err)
	}
}

// TestClaimWaitsForCommits stands a lock in for a commit that was let through.
func TestClaimWaitsForCommits(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := open(t, dsn)
	defer s.Close()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_lock_shared($1)`, int64(commitLock)); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := s.Claim(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a claim during a commit: %v", err)
	}
	if _, err := conn.Exec(t.Context(), `SELECT pg_advisory_unlock_shared($1)`, int64(commitLock)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "claim after the commit", func() error { return s.Claim(t.Context()) })
}

func TestOpenIsLazy(t *testing.T) {
	t.Parallel()
	s := open(t, "postgres://nobody:s3cret@127.0.0.1:1/none?sslmode=disable")
	defer s.Close()
	for name, do := range map[string]func(context.Context) error{"ping": s.Ping, "migrate": s.Migrate, "claim": s.Claim} {
		if err := do(t.Context()); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s without a server: %v", name, err)
		}
	}
	if _, err := Open("postgres://nobody:s3cret@127.0.0.1:99999999/none"); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a bad DSN: %v", err)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for suffix, want := range map[string]string{"": "on", "&synchronous_commit=remote_write": "remote_write"} {
		s := open(t, pgtest.DSN(t)+suffix)
		defer s.Close()
		var got string
		if err := s.pool.QueryRow(t.Context(), `SHOW synchronous_commit`).Scan(&got); err != nil || got != want {
			t.Errorf("synchronous_commit is %q, %v; want %q", got, err, want)
		}
		if s.config.ConnectTimeout != connectTimeout {
			t.Errorf("connect timeout is %s", s.config.ConnectTimeout)
		}
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := open(t, dsn)
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	standby := open(t, dsn+"&default_transaction_read_only=on")
	defer standby.Close()
	if err := errors.Join(s.Ping(t.Context()), standby.Ping(t.Context())); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a read-only database: %v", err)
	}
}
