package tests

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/wire"
)

// notReady waits until a broker reports that it isn't ready, for one of the reasons.
func notReady(t *testing.T, s *server, reasons ...string) {
	t.Helper()
	await.Until(t, fmt.Sprintf("the broker is not ready for one of %q", reasons), func() bool {
		status, text := s.TryGet("/health/ready")
		return status == 503 && slices.Contains(reasons, parse(t, text).str("reason"))
	})
}

const endBackends = `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'claudemesh'`

// TestReadOnlySpell starts database sessions while the database is read-only. The broker
// must not use them when the database is writable again.
func TestReadOnlySpell(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	s := startServer(t, "DATABASE_URL="+pg.DSN())
	outage(t, s, func() {
		pg.Exec(`ALTER DATABASE postgres SET default_transaction_read_only = on`)
		pg.Exec(endBackends)
		notReady(t, s, "storage_read_only")
	}, func() {
		pg.Exec(`SET TRANSACTION READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only`)
	})
}

// TestPromotedStandby promotes a standby of the database under load.
func TestPromotedStandby(t *testing.T) {
	t.Parallel()
	a, b := pgtest.Start(t, pgtest.Durable()), pgtest.Start(t, pgtest.Durable())
	b.Follow(a)
	s := startServer(t, "DATABASE_URL="+pgtest.DSNOfPair(a, b))
	outage(t, s, a.Kill, b.Promote)
}

// TestStorageIsTaken freezes a broker until another one has taken over its database. Then the
// first broker must close its sockets, and take the database again when it is free.
func TestStorageIsTaken(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	first, second := newServer(t, "DATABASE_URL="+pg.DSN()), newServer(t, "DATABASE_URL="+pg.DSN())
	first.Start()
	m := newTeam(t, first)
	socket := m.owner.daemon(t)
	second.Launch()
	notReady(t, second, "storage_in_use")

	if err := syscall.Kill(first.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	second.AwaitReady()
	if err := syscall.Kill(first.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	socket.awaitClose(wire.CloseRestart, wire.ReasonShutdown)
	notReady(t, first, "storage_in_use", "starting")
	second.Stop()
	first.AwaitReady()
	m.owner.daemon(t).sync()
}
