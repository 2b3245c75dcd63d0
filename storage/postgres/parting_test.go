package postgres

import (
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// pgxParts is how long pgx waits for a server that does not answer when it gives a connection up.
const pgxParts = 15 * time.Second

// TestPartingFromFrozenPostgres is checkParting with a server whose processes stand still.
func TestPartingFromFrozenPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	checkParting(t, server.DSN(), server.Pause)
}

// checkParting checks that a pool is free of a connection to a server that no longer answers before
// pgx would let it go, and that Close does not wait for such a connection either.
func checkParting(t *testing.T, dsn string, away func()) {
	t.Helper()
	stays, closes := migrated(t, dsn), migrated(t, dsn)
	for i, s := range []*Store{stays, closes} {
		if err := commitOne(s, int64(i+1), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	away()

	began := time.Now()
	if err := commitOne(stays, 3, 100*time.Millisecond); err == nil {
		t.Error("a commit succeeded without a server")
	}
	await.Until(t, "the pool has lost the connection", func() bool { return stays.pool.Stat().TotalConns() == 0 })
	if took := time.Since(began); took >= pgxParts {
		t.Errorf("the pool lost a connection after %s, want less than %s", took, pgxParts)
	}

	failed := make(chan error, 1)
	go func() { failed <- commitOne(closes, 4, time.Hour) }()
	await.Until(t, "the commit waits for the server", func() bool { return closes.pool.Stat().AcquiredConns() == 1 })
	began = time.Now()
	if err := closes.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took >= pgxParts {
		t.Errorf("Close took %s, want less than %s", took, pgxParts)
	}
	if err := <-failed; err == nil {
		t.Error("a commit succeeded without a server")
	}
}
