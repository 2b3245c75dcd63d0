package tests

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// TestStopWithoutDatabase stops brokers whose database has ended, or keeps its connections open and is silent,
// while peers and a request over HTTP wait for it. The sockets close with 1012, and the process ends before long.
func TestStopWithoutDatabase(t *testing.T) {
	t.Parallel()
	for state, leave := range map[string]func(*pgtest.Server){"silent": (*pgtest.Server).Pause, "ended": (*pgtest.Server).Stop} {
		t.Run("single broker, database "+state, func(t *testing.T) {
			t.Parallel()
			pg := pgtest.Start(t)
			stopWithout(t, pg, startServer(t, "DATABASE_URL="+pg.DSN()), func() { leave(pg) })
		})
		t.Run("node, database "+state, func(t *testing.T) {
			t.Parallel()
			pg, a, _ := startNodes(t)
			stopWithout(t, pg, a, func() { leave(pg) })
		})
	}
}

// stopsWithin is more than the ten seconds of docs/operating.md, since a busy machine is slow. Without partWithin, pgx
// takes longer to close the connections of a broker's pool.
const stopsWithin = 19 * time.Second

func stopWithout(t *testing.T, pg *pgtest.Server, s *server, databaseLeaves func()) {
	t.Helper()
	m := newTeam(t, s)
	sender, asker := m.owner.daemon(t), m.join(t, "bob").daemon(t)
	sender.send("*", "stored")
	asker.texts(1)
	request := requestThatWaits(t, pg, s)
	databaseLeaves()
	sender.write(draft("*", "nobody stores this"))
	asker.write(frame{"type": "message_status", "messageId": "0123456789abcdef", "_reqId": "q"})
	began := time.Now()
	s.Stop()
	if took := time.Since(began); took > stopsWithin {
		t.Errorf("the broker took %s to stop, want less than %s", took, stopsWithin)
	}
	for _, c := range []*v1Client{sender, asker} {
		c.awaitClose(wire.CloseRestart, wire.ReasonShutdown)
	}
	<-request
}

// requestThatWaits sends a request that waits in the database for a lock. The channel is closed when the
// request has ended.
func requestThatWaits(t *testing.T, pg *pgtest.Server, s *server) <-chan struct{} {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.PgConn().Conn().Close() })
	if _, err := conn.Exec(t.Context(), `BEGIN; LOCK TABLE claudemesh.invites IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if res, err := harness.HTTPClient.Get(s.URL("/i/" + strings.Repeat("0", 24))); err == nil {
			_ = res.Body.Close()
		}
	}()
	await.Until(t, "the request waits for the lock", func() bool {
		var waiting int
		queryRow(t, pg, []any{&waiting}, `SELECT count(*) FROM pg_locks WHERE NOT granted`)
		return waiting > 0
	})
	return ended
}
