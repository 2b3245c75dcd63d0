package torture

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/claudemesh/claudemesh/internal/disktest"
	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// failOver kills the primary of two servers, promotes the standby, and makes the old primary
// the new standby.
func failOver(w *world) {
	w.ledger.mayForget()
	primary, standby := w.pg, pgtest.Start(w.t, pgtest.Durable())
	standby.Follow(primary)
	w.broker.Env = append(w.broker.Env, "DATABASE_URL="+pgtest.DSNOfPair(primary, standby))
	w.serve()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		primary.Kill()
		standby.Promote()
		w.awaitReadiness(true)
		w.progress()
		primary.Follow(standby)
		primary, standby = standby, primary
	})
}

// freezePostgres freezes all of Postgres, for a moment or until the broker has given up.
func freezePostgres(w *world) {
	w.ledger.mayForget()
	w.serve()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(n int) {
		w.pg.Pause()
		if n%2 == 1 {
			w.awaitReadiness(false)
			w.hold(0, 30*time.Second)
		} else {
			w.hold(2*time.Second, 8*time.Second) // the short form is less than a commit may take
		}
		w.pg.Resume()
		w.awaitReadiness(true)
	})
}

// refuseConnections makes Postgres disconnect everybody and refuse new connections.
func refuseConnections(w *world) {
	w.ledger.mayForget()
	admin := w.connect()
	_, err := admin.Exec(w.ctx, "CREATE DATABASE mesh")
	w.check(err)
	w.broker.Env = append(w.broker.Env, "DATABASE_URL="+w.pg.DSN()+"&dbname=mesh")
	w.serve()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		_, err := admin.Exec(w.ctx, "ALTER DATABASE mesh ALLOW_CONNECTIONS false")
		w.check(err)
		_, err = admin.Exec(w.ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'mesh'")
		w.check(err)
		w.awaitReadiness(false)
		w.hold(0, 5*time.Second)
		_, err = admin.Exec(w.ctx, "ALTER DATABASE mesh ALLOW_CONNECTIONS true")
		w.check(err)
		w.awaitReadiness(true)
	})
}

// connect opens a connection to the world's database.
func (w *world) connect() *pgx.Conn {
	w.t.Helper()
	conn, err := pgx.Connect(w.ctx, w.dsn)
	w.check(err)
	w.t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// lockPostgres holds a lock that the broker's commits need, longer than they wait for it.
func lockPostgres(w *world) {
	w.ledger.mayForget()
	w.serve()
	other := w.connect()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		tx, err := other.Begin(w.ctx)
		w.check(err)
		_, err = tx.Exec(w.ctx, "LOCK TABLE claudemesh.deliveries IN ACCESS EXCLUSIVE MODE")
		w.check(err)
		w.awaitReadiness(false)
		w.hold(0, 5*time.Second)
		w.check(tx.Rollback(w.ctx))
		w.awaitReadiness(true)
	})
}

// deadlock holds a lock that the broker's commit needs, and waits for a lock that the commit
// holds. Postgres aborts the broker's commit.
func deadlock(w *world) {
	w.ledger.mayForget()
	w.serve()
	other, watching := w.connect(), w.connect()
	_, err := other.Exec(w.ctx, "SET deadlock_timeout = '1h'") // the broker's session detects the deadlock first
	w.check(err)
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		tx := w.lockBehindMessages(other, watching)
		_, err := tx.Exec(w.ctx, "LOCK TABLE claudemesh.messages IN ACCESS EXCLUSIVE MODE") // granted once the commit is aborted
		w.check(err)
		w.check(tx.Rollback(w.ctx))
		w.awaitReadiness(true)
	})
	var deadlocks int
	w.eventually("Postgres has counted the deadlocks", func() bool {
		w.check(watching.QueryRow(w.ctx, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks))
		return deadlocks >= faultsAtLeast
	})
}

// lockBehindMessages locks the deliveries while a commit of the broker has written messages
// but no deliveries yet. If another transaction waits for the lock instead, it releases the
// lock and tries again.
func (w *world) lockBehindMessages(other, watching *pgx.Conn) pgx.Tx {
	w.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		tx, err := other.Begin(w.ctx)
		w.check(err)
		_, err = tx.Exec(w.ctx, "LOCK TABLE claudemesh.deliveries IN ACCESS EXCLUSIVE MODE")
		w.check(err)
		var waits, hasWritten bool
		w.eventually("a transaction waits for the lock", func() bool {
			w.check(watching.QueryRow(w.ctx, `SELECT count(*) > 0, coalesce(bool_or(has.pid IS NOT NULL), false) FROM pg_locks wants
				LEFT JOIN pg_locks has ON has.pid = wants.pid AND has.granted AND has.mode = 'RowExclusiveLock'
					AND has.relation = 'claudemesh.messages'::regclass
				WHERE NOT wants.granted AND wants.relation = 'claudemesh.deliveries'::regclass`).Scan(&waits, &hasWritten))
			return waits
		})
		if hasWritten {
			return tx
		}
		w.check(tx.Rollback(w.ctx))
	}
	w.t.Fatal("no commit waits for the lock")
	return nil
}

// lockSQLite holds the database's write lock for longer than the broker waits for it.
func lockSQLite(w *world) {
	w.ledger.mayForget()
	w.serve()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.dataDir(), "claudemesh.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	w.check(err)
	defer db.Close()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		tx, err := db.BeginTx(w.ctx, nil)
		w.check(err)
		w.awaitReadiness(false)
		w.hold(0, 5*time.Second)
		w.check(tx.Rollback())
		w.awaitReadiness(true)
	})
}

// dataDir returns the directory of the broker's SQLite database.
func (w *world) dataDir() string {
	return filepath.Join(w.broker.Home, "data", "caddy", "claudemesh")
}

// fillDisk fills the disk of the SQLite database and then frees space again.
func fillDisk(w *world) {
	w.ledger.mayForget()
	disk := filepath.Join(w.broker.Home, "data")
	w.check(os.Mkdir(disk, 0o700))
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256m,mode=0700"); errors.Is(err, syscall.EPERM) {
		w.t.Skip("mounting a small disk needs root")
	} else if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		w.killBroker()
		if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
			w.t.Error(err)
		}
	})
	w.size = 8 << 10
	w.serve()
	w.populate()
	w.load()
	filler := filepath.Join(disk, "filler")
	w.repeatWithoutOne(func(int) {
		disktest.Fill(w.t, filler)
		w.awaitReadiness(false)
		w.hold(0, 5*time.Second)
		w.check(os.Remove(filler))
		w.awaitReadiness(true)
	})
}
