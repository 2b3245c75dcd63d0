package postgres

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/storage/storagetest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestStore(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t testing.TB) storagetest.Database { return database(pgtest.DSN(t)) })
}

func database(dsn string) storagetest.Database {
	return storagetest.Database{
		Schema: "claudemesh.",
		Open:   func(t testing.TB) storagetest.Store { return open(t, dsn) },
		Exec:   func(t testing.TB, sql string) { t.Helper(); execute(t, dsn, sql) },
	}
}

// open opens a database; the caller closes it.
func open(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func execute(t testing.TB, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}
