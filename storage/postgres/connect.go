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
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claudemesh/claudemesh/storage"
)

const (
	// connectTimeout applies to servers that do not answer, unless the DSN has its own
	// timeout.
	connectTimeout = 5 * time.Second
	// hostTimeout is the timeout for each host of a DSN that names several, because a dead
	// host may come before a live one.
	hostTimeout = 2 * time.Second
	// partWithin limits how long a server may take for each of the steps by which a connection is
	// given up: it accepts a request to cancel the statement, obeys it, and closes its end of the
	// connection. pgx allows 15 s for all of them, and the pool waits for that.
	partWithin = time.Second
	// poolSize limits the number of connections, unless the DSN does. The journal commits
	// on one connection; the others read.
	poolSize = 8
)

// parse parses a DSN and reads the files that it names, as they are now.
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

// settingsOf moves settings out of a config. The store makes them on each new connection
// instead, because poolers refuse a startup packet with settings that they do not know.
func settingsOf(c *pgx.ConnConfig) map[string]string {
	settings := maps.Clone(c.RuntimeParams)
	delete(settings, "options") // possible only at the start of a connection
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

// beforeConnect updates a copy of the config, because credentials in a file may have
// changed since the last connection.
func (s *Store) beforeConnect(ctx context.Context, c *pgx.ConnConfig) error {
	dsn, err := s.dsn()
	if err != nil {
		return fmt.Errorf("read dsn: %w", err)
	}
	now, err := parse(dsn)
	if err != nil {
		return err
	}
	_ = settingsOf(now.ConnConfig) // the settings from the start remain in effect
	*c = *now.ConnConfig
	if !s.direct.Load() {
		if err := refuseSharing(ctx, c); err != nil {
			return err
		}
		s.direct.Store(true)
	}
	partSoon(c)
	return nil
}

// partSoon makes the connection of a config keep to partWithin.
func partSoon(c *pgx.ConnConfig) {
	var connected atomic.Bool // from then on, dialing serves to cancel a statement
	c.AfterConnect = func(context.Context, *pgconn.PgConn) error {
		connected.Store(true)
		return nil
	}
	dial := c.DialFunc
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !connected.Load() {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return parting{conn}, nil
		}
		ctx, cancel := context.WithTimeout(ctx, partWithin)
		defer cancel()
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return conn, conn.SetDeadline(time.Now().Add(partWithin))
	}
}

// parting is a connection that keeps to partWithin. pgx sets a deadline in the future only when
// it gives the connection up.
type parting struct{ net.Conn }

// SetDeadline sets the given deadline, or an earlier one.
func (p parting) SetDeadline(t time.Time) error {
	if soon := time.Now().Add(partWithin); t.After(soon) {
		t = soon
	}
	return p.Conn.SetDeadline(t)
}

// afterConnect makes the settings and registers the array types on a connection.
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

// connect opens a connection outside the pool. The caller closes it.
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

// refuseSharing returns storage.ErrUnfit if a pooler lends connections for one transaction
// only. Such a pooler may serve two open connections by the same server process, or serve
// one connection by a different process in each transaction. This happens by chance, so
// refuseSharing looks several times. It changes no setting that another client could
// inherit.
func refuseSharing(ctx context.Context, c *pgx.ConnConfig) error {
	var conns [2]*pgx.Conn
	for i := range conns {
		config := c.Copy()
		partSoon(config)
		conn, err := pgx.ConnectConfig(ctx, config)
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
			return fmt.Errorf("a pooler in transaction or statement mode is in front of the server, but a broker "+
				"needs its own sessions, for settings and prepared statements; switch the pooler to session mode (in PgBouncer: pool_mode = session), "+
				"or name the server itself in the DSN: %w", storage.ErrUnfit)
		}
		seen[pid], process[i] = i, pid
	}
	return nil
}

// spoiler marks connections that failed for a reason other than the query. The
// pool does not use them again, because a new connection may cure the failure: the session
// may be read-only because the database was when it began, a plan or a prepared statement
// may be out of date, or the role may have changed.
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
		return // such an error closes the connection
	}
	switch e.Code {
	case uniqueViolation, foreignKeyViolation, claimLost, leaseOver, meshesLost:
		return
	}
	conn.PgConn().CustomData()[spoiled] = true
}

// usable tells the pool whether a connection may be used again.
func usable(_ context.Context, conn *pgx.Conn) (bool, error) {
	_, bad := conn.PgConn().CustomData()[spoiled]
	return !bad, nil
}

// reasonOf returns why the server did not do what the store asked.
func reasonOf(err error) storage.Reason {
	var e *pgconn.PgError
	var noConnection *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return storage.ReadOnly
	case errors.As(err, &e):
		class := func(prefix string) bool { return strings.HasPrefix(e.Code, prefix) }
		switch {
		case e.Code == "25006":
			return storage.ReadOnly
		case e.Code == "53100":
			return storage.Full
		case class("28"), e.Code == insufficientPrivilege, e.Code == "3D000":
			return storage.Refused
		case class("57P"), class("08"), class("53"):
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
