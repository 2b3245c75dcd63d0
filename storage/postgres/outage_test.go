package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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

// commitOne commits a message with the given seq.
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

// eventually repeats do until it succeeds.
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
			t.Fatal("a check succeeded without a server")
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
	eventually(t, "renew the lease after restarts", s.Claimed)
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
	// The second commit's outcome is unknown to its sender. Committing it again does no harm.
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
			t.Fatal("Close did not end the commit in progress")
		}
	}
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
	s := migrated(t, dsn)
	standby := open(t, dsn+"&default_transaction_read_only=on")
	defer standby.Close()
	if err := errors.Join(s.Ping(t.Context()), standby.Ping(t.Context())); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a read-only database: %v", err)
	}
}
