package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claudemesh/claudemesh/storage"
)

const (
	// connectTimeout is for servers that do not answer, unless the DSN has its own.
	connectTimeout = 5 * time.Second
	// hostTimeout is the same for each host of a DSN that names several: the way to
	// the one that answers may lead by one that does not.
	hostTimeout = 2 * time.Second
	// poolSize bounds the connections, unless the DSN does. The journal commits on one;
	// the others read.
	poolSize = 8
)

// parse reads a DSN, and the files that it names, as they are now.
func parse(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("read dsn: %w", err)
	}
	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
		if slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.Host != c.Host || f.Port != c.Port }) {
			c.ConnectTimeout = hostTimeout
		}
	}
	c.Tracer = spoiler{}
	return config, nil
}

// settingsOf takes out of a config what is to be set on each connection after it was
// made: poolers refuse a startup packet with settings that they do not know.
func settingsOf(c *pgx.ConnConfig) map[string]string {
	settings := maps.Clone(c.RuntimeParams)
	delete(settings, "options") // can be said at the start only
	if settings["application_name"] == "" {
		settings["application_name"] = "claudemesh"
	}
	if settings["synchronous_commit"] == "" {
		settings["synchronous_commit"] = "on"
	}
	// See Plans in the package comment. Compiling pays for long queries only.
	settings["enable_seqscan"] = "off"
	settings["jit"] = "off"
	for name := range settings {
		delete(c.RuntimeParams, name)
	}
	return settings
}

// beforeConnect brings a copy of the config up to date: credentials in a file may have
// changed since the connection before.
func (s *Store) beforeConnect(ctx context.Context, c *pgx.ConnConfig) error {
	dsn, err := s.dsn()
	if err != nil {
		return fmt.Errorf("read dsn: %w", err)
	}
	now, err := parse(dsn)
	if err != nil {
		return err
	}
	_ = settingsOf(now.ConnConfig) // those of the start hold
	*c = *now.ConnConfig
	if s.direct.Load() {
		return nil
	}
	if err := refuseSharing(ctx, c); err != nil {
		return err
	}
	s.direct.Store(true)
	return nil
}

// afterConnect makes the settings, and teaches the connection arrays.
func (s *Store) afterConnect(ctx context.Context, conn *pgx.Conn) error {
	arrays(conn.TypeMap())
	return set(ctx, conn, s.settings)
}

func set(ctx context.Context, conn *pgx.Conn, settings map[string]string) error {
	names := slices.Sorted(maps.Keys(settings))
	values := make([]string, len(names))
	for i, name := range names {
		values[i] = settings[name]
	}
	_, err := conn.Exec(ctx, `SELECT set_config(name, value, false) FROM unnest($1::text[], $2::text[]) AS s (name, value)`,
		pgx.QueryExecModeExec, names, values)
	return err
}

// connect makes a connection outside of the pool. The caller closes it.
func (s *Store) connect(ctx context.Context) (*pgx.Conn, error) {
	c := s.config.Copy()
	if err := s.beforeConnect(ctx, c); err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.afterConnect(ctx, conn); err != nil {
		disconnect(conn)
		return nil, err
	}
	return conn, nil
}

// refuseSharing returns storage.ErrUnfit when a pooler lends a connection for a
// transaction only. Two connections that stay open are then served by the same process
// of the server, or one by another process in each transaction. It happens by chance,
// so it is looked at more than once; nothing is set that somebody else could inherit.
func refuseSharing(ctx context.Context, c *pgx.ConnConfig) error {
	var conns [2]*pgx.Conn
	for i := range conns {
		conn, err := pgx.ConnectConfig(ctx, c.Copy())
		if err != nil {
			return err
		}
		defer disconnect(conn)
		conns[i] = conn
	}
	seen := make(map[int]int) // connection by process
	process := [2]int{}
	for _, i := range []int{0, 0, 1, 1, 0, 1} {
		var pid int
		if err := conns[i].QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
			return err
		}
		if by, found := seen[pid]; found && by != i || process[i] != 0 && process[i] != pid {
			return fmt.Errorf("a pooler in transaction or statement mode is in front of the server, and a broker "+
				"needs sessions of its own, for settings and prepared statements: have the pooler use session mode (in PgBouncer: pool_mode = session), "+
				"or name the server itself in the DSN: %w", storage.ErrUnfit)
		}
		seen[pid], process[i] = i, pid
	}
	return nil
}

// spoiler marks connections on which something went wrong that is no answer of the
// database to what was asked. They are not used again, for a new connection may cure
// it: the session is read-only since the database was when it began, a plan or a
// prepared statement is out of date, the role has changed.
type spoiler struct{}

const spoiled = "claudemesh spoiled"

func (spoiler) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (spoiler) TraceQueryEnd(_ context.Context, conn *pgx.Conn, data pgx.TraceQueryEndData) {
	judge(conn, data.Err)
}

func (spoiler) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	return ctx
}

func (spoiler) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (spoiler) TraceBatchEnd(_ context.Context, conn *pgx.Conn, data pgx.TraceBatchEndData) {
	judge(conn, data.Err)
}

func judge(conn *pgx.Conn, err error) {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return // what breaks a connection closes it
	}
	switch e.Code {
	case uniqueViolation, foreignKeyViolation, claimLost, leaseOver:
		return
	}
	conn.PgConn().CustomData()[spoiled] = true
}

// usable tells the pool whether a connection may be used again.
func usable(_ context.Context, conn *pgx.Conn) (bool, error) {
	_, bad := conn.PgConn().CustomData()[spoiled]
	return !bad, nil
}

// reasonOf says why the server did not do what it was asked to.
func reasonOf(err error) storage.Reason {
	var e *pgconn.PgError
	var noConnection *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return storage.ReadOnly
	case errors.As(err, &e):
		switch class := e.Code[:2]; {
		case e.Code == "25006":
			return storage.ReadOnly
		case e.Code == "53100":
			return storage.Full
		case class == "28", e.Code == "42501", e.Code == "3D000":
			return storage.Refused
		case class == "57" && strings.HasPrefix(e.Code, "57P"), class == "08", class == "53":
			return storage.Unreachable
		}
		return storage.Failed
	case errors.Is(err, storage.ErrUnfit), errors.Is(err, storage.ErrInUse), errors.Is(err, context.DeadlineExceeded):
		return storage.ReasonOf(err)
	case errors.As(err, &noConnection), errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), pgconn.SafeToRetry(err):
		return storage.Unreachable
	}
	return storage.ReasonOf(err)
}
