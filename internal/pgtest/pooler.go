package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pooler starts a PgBouncer in front of the server, for the duration of the test, and
// returns its DSN. mode is session, transaction or statement.
func (s *Server) Pooler(mode string) string {
	s.t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	if _, err := os.Stat(program); err != nil {
		s.t.Fatal("pgtest: this test needs PgBouncer, which `make test` installs")
	}
	port, err := freePort()
	s.check(err)
	// No Unix socket and no log file: PgBouncer runs as another user.
	config := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = %s
`, s.cluster.port, port, mode)
	file := filepath.Join(s.cluster.dir, "pgbouncer-"+mode+".ini")
	s.check(os.WriteFile(file, []byte(config), 0o644))
	var log strings.Builder
	cmd := exec.Command(program, file)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.cluster.dir, &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cluster.credential}
	s.check(cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	u, err := url.Parse(s.DSN())
	s.check(err)
	u.Host = fmt.Sprintf("127.0.0.1:%d", port)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, u.String())
		if err == nil {
			conn.Close(ctx)
			return u.String()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.check(fmt.Errorf("PgBouncer doesn't answer: %w", err))
		}
	}
}

// AskPasswords makes the server require a password from every role except its superuser.
func (s *Server) AskPasswords() {
	s.t.Helper()
	rules := "host all postgres 127.0.0.1/32 trust\nhost replication postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	s.check(os.WriteFile(filepath.Join(s.cluster.data, "pg_hba.conf"), []byte(rules), 0o644))
	s.Exec("SELECT pg_reload_conf()")
	s.await("the reload", "SELECT NOT EXISTS (SELECT FROM pg_hba_file_rules WHERE auth_method = 'trust' AND user_name = '{all}')")
}
