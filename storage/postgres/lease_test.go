package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/storage/internal/migration"
	"github.com/claudemesh/claudemesh/wire"
)

// freeze keeps a store from renewing its lease until thaw, as if its process were frozen.
// Transactions of the store continue.
func freeze(t *testing.T, s *Store, dsn string) (thaw func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `SELECT FROM claudemesh.nodes WHERE id = $1 FOR NO KEY UPDATE`, s.lease.Load().id)
	}
	if err == nil { // the lease may have been renewed a moment ago
		_, err = tx.Exec(t.Context(), `UPDATE claudemesh.nodes SET lease_until = clock_timestamp()`)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(tx.Commit(t.Context()), conn.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
}

// expire ends the running lease of the database.
func expire(t *testing.T, dsn string) {
	t.Helper()
	execute(t, dsn, `UPDATE claudemesh.nodes SET lease_until = clock_timestamp()`)
}

// takeOver makes b claim the database that another store has.
func takeOver(t *testing.T, b *Store, dsn string) {
	t.Helper()
	eventually(t, "take over", func() error { // the other store may renew its lease first
		expire(t, dsn)
		return b.Claim(t.Context())
	})
}

func TestLeaseIsRenewed(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	s := claimed(t, server.DSN())
	for seq := range int64(3) {
		server.Exec(endBackends)
		until := s.lease.Load().until.Load()
		eventually(t, "renew the lease", func() error {
			if s.lease.Load().until.Load() == until {
				return errors.New("not yet")
			}
			return s.Claimed()
		})
		eventually(t, "commit", func() error { return commitOne(s, seq+1, 10*time.Second) }) // on a live connection
	}
	if err := errors.Join(s.Claim(t.Context()), s.Ping(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestSuspended checks that a store can renew a lease that has run out, as long as no other
// store has claimed the database.
func TestSuspended(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := claimed(t, dsn)
	thaw := freeze(t, s, dsn)
	eventually(t, "the end of the lease", func() error {
		if err := s.Claimed(); !errors.Is(err, storage.ErrSuspended) {
			return fmt.Errorf("claimed: %w", err)
		}
		return nil
	})
	thaw()
	eventually(t, "go on", func() error { return errors.Join(s.Claimed(), commitOne(s, 1, 10*time.Second)) })
	expire(t, dsn)
	if err := commitOne(s, 2, 10*time.Second); err != nil && storage.ReasonOf(err) != storage.Suspended {
		t.Errorf("a commit without a lease: got %v, want reason %s", err, storage.Suspended)
	}
	eventually(t, "go on again", func() error { return commitOne(s, 3, 10*time.Second) })
}

// TestFenceWithoutLease checks that the statements that begin a transaction refuse a store whose lease has run out, even if
// nobody has removed it. The lease ends within the transaction, so that no renewal comes in between.
func TestFenceWithoutLease(t *testing.T) {
	t.Parallel()
	s := claimed(t, pgtest.DSN(t))
	id := s.lease.Load().id
	for query, args := range map[string][]any{requireLease: {id}, requireMeshes: {id, []string{}}} {
		tx, err := s.pool.Begin(t.Context())
		if err == nil {
			_, err = tx.Exec(t.Context(), `UPDATE claudemesh.nodes SET lease_until = clock_timestamp()`)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), query, args...); !errors.Is(wrap("write", err), storage.ErrSuspended) {
			t.Errorf("%s without a lease: got %v, want ErrSuspended", query, err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestTakenOver(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := claimed(t, dsn), open(t, dsn)
	defer b.Close()
	m := mesh.Mesh{ID: wire.ID{7}, Slug: "team", Name: "Team"}
	owner := mesh.Member{ID: wire.ID{8}, MeshID: m.ID, DisplayName: "Ada", Role: mesh.Owner}
	invite := mesh.Invite{ID: wire.ID{9}, MeshID: m.ID, Kind: mesh.Link, Code: "code", Role: mesh.Normal, Uses: 1, ExpiresAt: time.Now().Add(time.Hour)}
	if err := errors.Join(commitOne(a, 1, 10*time.Second), a.CreateMesh(t.Context(), m, owner), a.AddInvite(t.Context(), invite)); err != nil {
		t.Fatal(err)
	}
	if err := b.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) || !strings.Contains(err.Error(), "on host") {
		t.Fatalf("a claim of another store's database: got %v, want ErrInUse with the host", err)
	}
	takeOver(t, b, dsn)
	now, ctx := time.Now(), t.Context()
	refused := map[string]func() error{
		"commit":        func() error { return commitOne(a, 2, 10*time.Second) },
		"ping":          func() error { return a.Ping(ctx) },
		"claim":         func() error { return a.Claim(ctx) },
		"sweep":         func() error { _, err := a.Sweep(ctx, now, now, now, 1); return err },
		"prune":         func() error { _, err := a.PrunePresences(ctx, now, 1); return err },
		"forget hellos": func() error { return a.ForgetHellos(ctx, now) },
		"create mesh": func() error {
			return a.CreateMesh(ctx, mesh.Mesh{ID: wire.ID{10}}, mesh.Member{MeshID: wire.ID{10}, Role: mesh.Owner})
		},
		"update member": func() error { return a.UpdateMember(ctx, owner) },
		"add invite":    func() error { v := invite; v.ID, v.Code = wire.ID{11}, "other"; return a.AddInvite(ctx, v) },
		"revoke invite": func() error { return a.RevokeInvite(ctx, m.ID, invite.ID, now) },
		"redeem": func() error {
			_, _, err := a.Redeem(ctx, invite.ID, mesh.Member{ID: wire.ID{12}, MeshID: m.ID, Key: wire.Key{1}, Role: mesh.Normal, JoinedAt: now})
			return err
		},
	}
	for name, do := range refused {
		if err := do(); !errors.Is(err, storage.ErrInUse) || storage.ReasonOf(err) != storage.InUse {
			t.Errorf("%s by the store that lost the database: got %v, want ErrInUse", name, err)
		}
	}
	if err := commitOne(b, 2, 10*time.Second); err != nil {
		t.Errorf("commit by the store that took over: %v", err)
	}
	select {
	case <-a.lease.Load().ended:
	case <-time.After(await.Patience):
		t.Fatal("the store that lost the database still renews its lease")
	}
	if err := a.Claimed(); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("Claimed = %v, want ErrInUse", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// The database is free, but what store a remembers of it is out of date.
	if err := commitOne(a, 3, 10*time.Second); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("commit after the other store closed: got %v, want ErrInUse", err)
	}
	if err := errors.Join(a.Claim(ctx), commitOne(a, 3, 10*time.Second), a.Claimed()); err != nil {
		t.Errorf("a new claim: %v", err)
	}
	if waiting, err := a.Backlog(ctx, box, 0, false, 100); len(waiting) != 3 || err != nil {
		t.Errorf("got %d deliveries, %v; want 3", len(waiting), err)
	}
}

// TestTakeOverLooksAgain checks that a store that takes over checks the lease again once it
// has the lock.
func TestTakeOverLooksAgain(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := claimed(t, dsn), open(t, dsn)
	defer b.Close()
	conn, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	err = locked(t.Context(), conn.Conn(), func(tx pgx.Tx) error {
		return b.remove(t.Context(), tx, cluster.Node{ID: a.lease.Load().id}) // as if b had just seen it without a lease
	})
	if !errors.Is(err, storage.ErrInUse) {
		t.Errorf("removal of a node with a lease: got %v, want ErrInUse", err)
	}
	if err := commitOne(a, 1, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// TestFrozenTransaction checks that a process that is frozen in the middle of a transaction
// does not block other stores.
func TestFrozenTransaction(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	a, b := claimed(t, dsn), open(t, dsn)
	defer b.Close()
	if err := commitOne(a, 1, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	tx, err := a.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), requireLease, a.lease.Load().id); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE claudemesh.deliveries SET name = 'late'`); err != nil {
		t.Fatal(err)
	}
	takeOver(t, b, dsn)
	if err := tx.Commit(t.Context()); err == nil {
		t.Error("the store that lost the database committed a transaction")
	}
	if err := commitOne(b, 2, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// TestSetBack checks that a store has lost a database that was restored from a backup with the
// store's own lease, and can claim it again.
func TestSetBack(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := claimed(t, dsn)
	execute(t, dsn, `CREATE TABLE claudemesh.kept AS SELECT id, lease_until, renewals FROM claudemesh.nodes`)
	eventually(t, "renew the lease", func() error {
		var renewed bool
		err := s.pool.QueryRow(t.Context(), `SELECT n.renewals > kept.renewals FROM claudemesh.nodes n, claudemesh.kept`).Scan(&renewed)
		if err == nil && !renewed {
			err = errors.New("not yet")
		}
		return err
	})
	execute(t, dsn, `UPDATE claudemesh.nodes n SET lease_until = kept.lease_until, renewals = kept.renewals FROM claudemesh.kept`)
	eventually(t, "notice it", func() error {
		if err := s.Claimed(); !errors.Is(err, storage.ErrSetBack) || storage.ReasonOf(err) != storage.SetBack {
			return fmt.Errorf("claimed: %w", err)
		}
		return nil
	})
	if err := commitOne(s, 1, 10*time.Second); err == nil {
		t.Error("committed what belongs to a later state")
	}
	eventually(t, "claim it again", func() error { return errors.Join(s.Claim(t.Context()), commitOne(s, 1, 10*time.Second)) })
}

// TestClaimAfterKill checks that a store can claim a database in which killed processes
// have left their rows.
func TestClaimAfterKill(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := migrated(t, dsn)
	execute(t, dsn, `INSERT INTO claudemesh.nodes (id, lease_until, pid, knows_schema, host)
		SELECT -n, clock_timestamp() + interval '100 ms' * n, 1, 1, 'gone' FROM generate_series(1, 3) n`)
	eventually(t, "claim", func() error { return s.Claim(t.Context()) })
	if err := commitOne(s, 1, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// TestUpgradeUnderOldBroker checks that a store does not change the schema while an older
// broker has the database.
func TestUpgradeUnderOldBroker(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	execute(t, dsn, `CREATE SCHEMA claudemesh; `+bootstrapSQL)
	for _, step := range migrations[:nodesVersion-1] {
		execute(t, dsn, step.SQL)
		execute(t, dsn, fmt.Sprintf(`INSERT INTO claudemesh.schema_version (version, applied_at) VALUES (%d, 0)`, step.Version))
	}
	old, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close(t.Context())
	if _, err := old.Exec(t.Context(), `SELECT pg_advisory_lock($1)`, int64(oldBrokerLock)); err != nil {
		t.Fatal(err)
	}
	var epoch int64
	if err := old.QueryRow(t.Context(), `UPDATE claudemesh.claim SET epoch = epoch + 1 RETURNING epoch`).Scan(&epoch); err != nil {
		t.Fatal(err)
	}
	s := open(t, dsn)
	defer s.Close()
	for name, do := range map[string]func() error{
		"migrate": func() error { return s.Migrate(t.Context()) }, "claim": func() error { return s.Claim(t.Context()) },
	} {
		if err := do(); !errors.Is(err, storage.ErrInUse) || !strings.Contains(err.Error(), "older version") {
			t.Errorf("%s: got %v, want ErrInUse by an older version", name, err)
		}
	}
	if version, err := s.SchemaVersion(t.Context()); version != nodesVersion-1 || err != nil {
		t.Errorf("got schema version %d, %v; want %d", version, err, nodesVersion-1)
	}
	// The older broker loses the connection of its lock. It continues until another store
	// claims the database.
	if _, err := old.Exec(t.Context(), `SELECT pg_advisory_unlock($1), claudemesh.require_claim($2)`, int64(oldBrokerLock), epoch); err != nil {
		t.Fatal(err)
	}
	if err := s.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Exec(t.Context(), `SELECT claudemesh.require_claim($1)`, epoch); !errors.Is(wrap("commit", err), storage.ErrInUse) {
		t.Errorf("a commit of the older broker: got %v, want ErrInUse", err)
	}
	if err := commitOne(s, 1, 10*time.Second); err != nil {
		t.Error(err)
	}
}

// TestNewerSchemaThatFits checks that a store works with a newer schema if that schema
// names the store's version as one that programs may know, and not otherwise.
func TestNewerSchemaThatFits(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := claimed(t, dsn)
	known := len(migrations)
	execute(t, dsn, fmt.Sprintf(`INSERT INTO claudemesh.schema_version (version, applied_at, oldest) VALUES (%d, 0, %d)`, known+1, known))
	if err := errors.Join(s.Migrate(t.Context()), commitOne(s, 1, 10*time.Second), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = claimed(t, dsn)
	if version, err := s.SchemaVersion(t.Context()); version != known+1 || err != nil {
		t.Errorf("got schema version %d, %v; want %d", version, err, known+1)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, dsn, fmt.Sprintf(`INSERT INTO claudemesh.schema_version (version, applied_at, oldest) VALUES (%d, 0, %d)`, known+2, known+1))
	s = open(t, dsn)
	defer s.Close()
	var newer *storage.NewerSchemaError
	if err := s.Claim(t.Context()); !errors.As(err, &newer) || newer.Found != known+2 {
		t.Errorf("a schema that does not fit: got %v, want NewerSchemaError for version %d", err, known+2)
	}
}

// TestMigrateBesideOlderNode checks that Migrate does not change the schema while a broker
// runs that can't work with the new one.
func TestMigrateBesideOlderNode(t *testing.T) {
	t.Parallel()
	s := claimed(t, pgtest.DSN(t))
	known := len(migrations)
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for oldest, want := range map[int]error{known + 1: storage.ErrInUse, known: nil} {
		steps := []migration.Migration{{Version: known + 1, Oldest: oldest}}
		err := locked(t.Context(), conn.Conn(), func(tx pgx.Tx) error { return requireNobody(t.Context(), tx, known, steps) })
		if !errors.Is(err, want) {
			t.Errorf("a step that programs from version %d on can work with: got %v, want %v", oldest, err, want)
		}
	}
}
