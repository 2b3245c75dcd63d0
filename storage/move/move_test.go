package move

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/storage/sqlite"
	"github.com/claudemesh/claudemesh/wire"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is a filled source and an empty target, both claimed.
type world struct {
	from     *sqlite.Store
	path     string
	to       *postgres.Store
	dsn      string
	mesh     wire.ID
	messages int
}

// newWorld fills a source with more than a transaction copies.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{path: filepath.Join(t.TempDir(), "mesh.db"), dsn: pgtest.DSN(t), mesh: wire.ID{7}, messages: batchRows + 300}
	var err error
	w.from, err = sqlite.Open(w.path)
	check(t, err)
	t.Cleanup(func() { w.from.Close() })
	w.to, err = postgres.Open(w.dsn)
	check(t, err)
	t.Cleanup(func() { w.to.Close() })
	check(t, errors.Join(w.from.Migrate(t.Context()), w.from.Claim(t.Context()), w.to.Claim(t.Context())))
	now := time.Now()
	b := &journal.Batch{Hellos: []journal.Hello{{Mesh: w.mesh, At: now}}}
	b.Presences = append(b.Presences, presence.Record{MeshID: w.mesh, Identity: presence.SessionIdentity(wire.Key{9}), ID: wire.ID{1}, LastSeenAt: now})
	var ids wire.IDSource
	var head audit.Head
	for i := range w.messages {
		var e audit.Entry
		e, head = audit.Extend(head, audit.NewEvent(w.mesh, now, audit.Broker, audit.RoutedDetail{Priority: wire.Next}))
		b.Audit = append(b.Audit, e)
		b.Messages = append(b.Messages, &queue.Accepted{
			Message: queue.Message{ID: ids.New(now), MeshID: w.mesh, SenderMember: wire.ID{byte(i % 3)}, Priority: wire.Next, CreatedAt: now,
				ClientID: fmt.Sprint("client ", i), Ciphertext: fmt.Sprint("text ", i), Nonce: "ünïcode"},
			Recipients: []queue.Recipient{
				{Seq: int64(2*i + 1), Mailbox: queue.Mailbox{Mesh: w.mesh, Name: "s/a"}},
				{Seq: int64(2*i + 2), Mailbox: queue.Mailbox{Mesh: w.mesh, Name: "s/b"}, State: queue.State(i % 2), SettledAt: now},
			},
		})
		if i%2 == 0 {
			b.Messages[i].Recipients[1].SettledAt = time.Time{}
		}
	}
	_, err = w.from.Commit(t.Context(), b)
	check(t, err)
	db, err := sql.Open("sqlite", w.path)
	check(t, err)
	defer db.Close()
	_, err = db.Exec(`
		INSERT INTO meshes (id, slug, name, owner, created_at) VALUES (?1, 'team', 'Team', zeroblob(32), 5);
		INSERT INTO members (id, mesh_id, key, display_name, role, groups, joined_at, grants) VALUES (zeroblob(16), ?1, zeroblob(32), 'alice', 'owner', '[]', 1, '{}');
		INSERT INTO invites (id, mesh_id, kind, sealed_root_key, role, groups, uses, used) VALUES (zeroblob(16), ?1, 'link', '', 'member', '[]', 2, 1);
		INSERT INTO audit_key (id, seed) VALUES (1, zeroblob(32));
		INSERT INTO audit_restores (mesh_id, at, announcement) VALUES (?1, 3, 'a'), (?1, 4, 'b');
		INSERT INTO audit_pruned (mesh_id, seq, checkpoint) VALUES (?1, 3, 'a')`, w.mesh[:])
	check(t, err)
	return w
}

func (w *world) exec(t *testing.T, query string) {
	t.Helper()
	check(t, w.to.Transaction(t.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), query)
		return err
	}))
}

// TestMove interrupts a move at each report, goes on with it, and finds everything in the
// target.
func TestMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var moved Moved
	interrupted := 0
	for stop := 1; moved == nil; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		reports := 0
		var err error
		moved, err = Run(ctx, w.from, w.to, func(string, bool, int64, int64) {
			if reports++; reports == stop {
				cancel()
			}
		})
		if ctx.Err() == nil {
			check(t, err)
		} else if err != nil {
			moved = nil
			interrupted++
		}
		cancel()
	}
	if interrupted < 5 {
		t.Errorf("interrupted only %d times", interrupted)
	}
	for _, tt := range tables() {
		if moved[tt.name] == 0 {
			t.Errorf("no row of %s was moved, so it was not tested", tt.name)
		}
	}
	if n := int64(w.messages); moved["messages"] != n || moved["bodies"] != n {
		t.Errorf("%v", moved)
	}
	// What the broker reads is the same.
	for _, name := range []string{"s/a", "s/b"} {
		box := queue.Mailbox{Mesh: w.mesh, Name: name}
		want, err := w.from.Backlog(t.Context(), box, 0, false, 5000)
		check(t, err)
		got, err := w.to.Backlog(t.Context(), box, 0, false, 5000)
		check(t, err)
		if len(got) == 0 || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s: %d deliveries wait, in the source %d, or they differ", name, len(got), len(want))
		}
	}
	if r, err := audit.VerifyMesh(t.Context(), w.to, w.mesh); err != nil || r.Head.Seq != int64(w.messages) {
		t.Errorf("got %+v, error %v", r, err)
	}
	// Once more: all is there.
	if again, err := Run(t.Context(), w.from, w.to, nil); err != nil || again["messages"] != moved["messages"] {
		t.Errorf("second move: got %v, error %v", again, err)
	}
	// A broker has used the target since.
	for _, change := range []string{
		`UPDATE claudemesh.meshes SET name = 'Other'`,
		`DELETE FROM claudemesh.invites`,
		`INSERT INTO claudemesh.hellos (mesh_id, signature, at) SELECT mesh_id, decode(repeat('ff', 64), 'hex'), 1 FROM claudemesh.hellos`,
	} {
		w.exec(t, change)
		if _, err := Run(t.Context(), w.from, w.to, nil); !errors.Is(err, ErrNotEmpty) {
			t.Errorf("%s: %v", change, err)
		}
	}
}

// TestMoveFindsDifferences changes what an interrupted move has copied: no mesh appears.
func TestMoveFindsDifferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Run(ctx, w.from, w.to, func(table string, comparing bool, done, _ int64) {
		if comparing {
			cancel()
		}
	})
	if err == nil {
		t.Fatal("the move was not interrupted")
	}
	for _, change := range []string{
		`UPDATE claudemesh.bodies SET ciphertext = ciphertext || 'x' WHERE ciphertext = 'text 1000'`,
		`UPDATE claudemesh.bodies SET ciphertext = 'text 1000' WHERE ciphertext = 'text 1000x'; DELETE FROM claudemesh.deliveries WHERE seq = 1001`,
	} {
		w.exec(t, change)
		if _, err := Run(t.Context(), w.from, w.to, nil); err == nil {
			t.Errorf("the comparison did not notice: %s", change)
		}
	}
	var meshes int
	check(t, w.to.Transaction(t.Context(), func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM claudemesh.meshes`).Scan(&meshes)
	}))
	if meshes != 0 {
		t.Error("the target has a mesh")
	}
}

// TestEveryTable checks that each table of both databases is moved, or is known to stay.
func TestEveryTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	known := slices.Clone(notMoved)
	for _, tt := range tables() {
		known = append(known, tt.name)
	}
	var found []string
	rows, err := w.from.Rows(t.Context(), `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
	check(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		check(t, rows.Scan(&name))
		found = append(found, name)
	}
	check(t, rows.Err())
	check(t, w.to.Transaction(t.Context(), func(tx pgx.Tx) error {
		rows, err := tx.Query(t.Context(), `SELECT table_name FROM information_schema.tables WHERE table_schema = 'claudemesh'`)
		if err != nil {
			return err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		found = append(found, names...)
		return err
	}))
	for _, name := range found {
		if !slices.Contains(known, name) {
			t.Errorf("a move does not copy the table %s", name)
		}
	}
	if len(found) < 20 {
		t.Errorf("found only these tables: %v", found)
	}
}
