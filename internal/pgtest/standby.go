package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Follow replaces the server's data with a copy of the primary's and makes the server the
// primary's synchronous standby. When Follow returns, the primary acknowledges a commit
// only once it is also on the standby's disk
// (https://www.postgresql.org/docs/current/warm-standby.html). The server keeps its DSN.
func (s *Server) Follow(primary *Server) {
	s.t.Helper()
	s.Kill()
	s.check(os.RemoveAll(s.cluster.data))
	from := primary.cluster
	backup := exec.Command(filepath.Join(from.bin, "pg_basebackup"), "--pgdata", s.cluster.data, "--write-recovery-conf",
		"--checkpoint", "fast", "--no-sync", "--dbname", from.dsn("postgres"))
	backup.Dir = s.cluster.dir
	backup.SysProcAttr = &syscall.SysProcAttr{Credential: s.cluster.credential}
	if out, err := backup.CombinedOutput(); err != nil {
		s.check(fmt.Errorf("pg_basebackup: %w\n%s", err, out))
	}
	s.check(s.cluster.start())
	primary.await("a standby that follows without a gap", "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')")
	primary.setSynchronous("*")
}

// await repeats a query, each time on a new connection, until the answer is true.
func (s *Server) await(what, question string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.DSN())
		s.check(err)
		var yes bool
		err = conn.QueryRow(ctx, question).Scan(&yes)
		conn.Close(ctx)
		s.check(err)
		if yes {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.check(fmt.Errorf("await %s: %w", what, ctx.Err()))
		}
	}
}

// Promote makes a standby a primary, which waits for no standby.
func (s *Server) Promote() {
	s.t.Helper()
	s.Exec("SELECT pg_promote()") // waits until the promotion is complete
	s.setSynchronous("")
}

// setSynchronous sets the standbys that a commit waits for. The setting is in effect when
// setSynchronous returns.
func (s *Server) setSynchronous(names string) {
	s.t.Helper()
	s.Exec("ALTER SYSTEM SET synchronous_standby_names = '" + names + "'")
	s.Exec("SELECT pg_reload_conf()")
	// A reload is asynchronous. A new connection shows when the postmaster has reloaded and
	// has signaled its processes. The checkpointer, which tells commits whether to wait,
	// reloads before it serves the CHECKPOINT.
	s.await("the reload", "SELECT current_setting('synchronous_standby_names') = '"+names+"'")
	s.Exec("CHECKPOINT")
}

// DSNOfPair returns a DSN that leads to whichever of two servers is writable.
func DSNOfPair(a, b *Server) string {
	dsn := strings.Replace(a.DSN(), a.cluster.hostPort(), a.cluster.hostPort()+","+b.cluster.hostPort(), 1)
	return dsn + "&target_session_attrs=read-write"
}
