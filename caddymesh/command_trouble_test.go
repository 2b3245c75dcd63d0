package caddymesh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
	"modernc.org/sqlite"

	"github.com/claudemesh/claudemesh/storage"
)

// eachCommand calls do with every command that has a flag.
func eachCommand(t *testing.T, flag string, do func(name string)) {
	t.Helper()
	root := &cobra.Command{Use: "claudemesh"}
	addCommands(root)
	n := 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Flags().Lookup(flag) != nil {
			n++
			do(strings.TrimPrefix(cmd.CommandPath(), "claudemesh "))
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if n == 0 {
		t.Errorf("no command has --%s", flag)
	}
}

// closedPort returns a port of this machine at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestDatabaseAway checks that each command that uses a database says in plain words that it
// can't be reached, which database that is, and what to do.
func TestDatabaseAway(t *testing.T) {
	source := filepath.Join(t.TempDir(), "mesh.db")
	if out, err := command(t, "migrate", "--sqlite", source); err != nil {
		t.Fatal(err, out)
	}
	port := closedPort(t)
	more := map[string][]string{"move": {"--from", "sqlite", "--to", "postgres", "--sqlite", source}}
	eachCommand(t, "database", func(name string) {
		switch name {
		case "storage", "backup", "restore": // they ask no database server
			return
		}
		args := append(append(strings.Fields(name), "--database", "postgres://mesh:hunter2@127.0.0.1:"+port+"/mesh?sslmode=disable"), more[name]...)
		_, err := command(t, args...)
		if err == nil {
			t.Errorf("%s works without its database", name)
			return
		}
		text := err.Error()
		want := "Postgres database mesh at 127.0.0.1:" + port + " can't be reached (connection refused); check whether it runs, and whether this is its address"
		if !strings.HasSuffix(text, want) || strings.Count(text, "mesh at") != 1 || strings.Contains(text, "user=") || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", name, text)
		}
	})
}

// TestTrouble checks the words for each kind of error of a storage.
func TestTrouble(t *testing.T) {
	t.Parallel()
	server, file := &Postgres{name: "Postgres database mesh at db:5432"}, &SQLite{Path: "/mesh.db"}
	fails := func(reason storage.Reason, err error) error {
		return fmt.Errorf("list nodes: %w", &storage.Fault{Reason: reason, Err: err})
	}
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, test := range []struct {
		of   Storage
		err  error
		want string
	}{
		{server, fails(storage.Unreachable, fmt.Errorf("failed to connect: %w", errors.Join(refused, refused, &net.DNSError{Name: "db2"}))),
			`list nodes: Postgres database mesh at db:5432 can't be reached (connection refused, no address for the host "db2"); check whether it runs`},
		{server, fails(storage.NoAnswer, context.DeadlineExceeded), "does not answer in time (no answer in time); check its load"},
		{server, fails(storage.Refused, &pgconn.PgError{Message: `password authentication failed for user "mesh"`, Code: "28P01"}),
			`refuses this login (password authentication failed for user "mesh"); check the database's name, the user, the password`},
		{server, fails(storage.ReadOnly, &pgconn.PgError{Message: "cannot execute UPDATE in a read-only transaction"}), "is read-only (cannot execute UPDATE"},
		{server, fails(storage.Failed, &pgconn.PgError{Message: "out of shared memory"}), "reports an error (out of shared memory); its log may say more"},
		{server, fails(storage.Unfit, fmt.Errorf("switch the pooler: %w", storage.ErrUnfit)), "list nodes: Postgres database mesh at db:5432: switch the pooler: "},
		{file, fails(storage.Unreachable, errors.New("unable to open database file")), "SQLite database /mesh.db can't be opened (unable to open database file); check its path"},
		{file, fails(storage.Full, errors.New("database or disk is full")), "has no room (database or disk is full); make room"},
		{server, fails(storage.Failed, &pgconn.PgError{Message: `relation "claudemesh.audit_heads" does not exist`, Code: "42P01"}), "is not the database of a claudemesh broker (relation"},
		{file, fails(storage.Failed, errors.New("no such table: audit_heads (1)")), "is not the database of a claudemesh broker (no such table: audit_heads (1)); name that"},
		{server, errors.New("no other node"), "no other node"},
		{server, fails(storage.Failed, errors.New("row 5 differs")), "list nodes: row 5 differs"},
		{server, fails(storage.Full, fails(storage.Full, new(sqlite.Error))), "list nodes: list nodes: "},
	} {
		got := trouble(test.of, test.err)
		if !strings.Contains(got.Error(), test.want) || !errors.Is(got, test.err) {
			t.Errorf("got %q, want %q", got, test.want)
		}
		if again := trouble(test.of, fmt.Errorf("more: %w", got)); again.Error() != "more: "+got.Error() {
			t.Errorf("twice: %q", again)
		}
	}
	if trouble(server, nil) != nil {
		t.Error("no error is one")
	}
}

// TestActingCommands checks that every command that changes something, or that reads, can print
// JSON.
func TestActingCommands(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "claudemesh"}
	addCommands(root)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		name := strings.TrimPrefix(cmd.CommandPath(), "claudemesh ")
		switch {
		case cmd.HasSubCommands(), name == "page", name == "audit export": // one serves a page, the other prints JSON lines
		case cmd.Flags().Lookup("json") == nil || !strings.Contains(cmd.Use, "[--json]"):
			t.Errorf("%s has no --json", name)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
