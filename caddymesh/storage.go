package caddymesh

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/internal/netfs"
	"github.com/claudemesh/claudemesh/storage/postgres"
	"github.com/claudemesh/claudemesh/storage/sqlite"
)

const (
	storageNamespace = "claudemesh.storage"
	databaseURL      = "{env.DATABASE_URL}"
)

func init() {
	caddy.RegisterModule(new(SQLite))
	caddy.RegisterModule(new(Postgres))
}

// Storage is a guest module that determines where a broker keeps its data. Its Provision
// must not touch the storage; the broker calls Open when it starts.
type Storage interface {
	// Identity returns a text that is the same for all configurations of one
	// storage. It may contain secrets: never show it.
	Identity() string
	// String describes the storage for people, without secrets.
	String() string
	// Open prepares the storage for use. An unreachable database isn't an error.
	Open() (broker.Storage, error)
}

// SQLite keeps everything in one file. The database is embedded in the broker, needs no
// set-up and suits a broker that runs on one machine.
type SQLite struct {
	// The database file. The broker creates its directory if necessary. Supports
	// placeholders. Default: claudemesh/claudemesh.db in Caddy's data directory.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*SQLite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  storageNamespace + ".sqlite",
		New: func() caddy.Module { return new(SQLite) },
	}
}

// Provision resolves the path.
func (s *SQLite) Provision(ctx caddy.Context) error {
	if s.Path == "" {
		dir := caddy.AppDataDir()
		if !filepath.IsAbs(dir) {
			return errors.New("storage sqlite: Caddy's data directory is unknown because neither HOME nor XDG_DATA_HOME is set; " +
				"set one of them to the broker's value, or name the database (storage sqlite <path>; in commands --sqlite <path>)")
		}
		s.Path = filepath.Join(dir, "claudemesh", "claudemesh.db")
	}
	path, err := expand("storage sqlite: path", s.Path)
	if err != nil {
		return err
	}
	if s.Path, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("storage sqlite: path: %w", err)
	}
	warnOfNetworkFS(ctx.Logger(), s.Path, netfs.Kind(s.Path))
	return nil
}

// warnOfNetworkFS warns about a database on a network file system. kind is the file system,
// or "" for a local one.
func warnOfNetworkFS(log *zap.Logger, path, kind string) {
	if kind == "" {
		return
	}
	log.Warn("the SQLite database is on a network file system, which may not lock and sync files reliably; "+
		"no other machine may open the database while the broker runs; move it to a local disk (storage sqlite <path>), or use Postgres",
		zap.String("path", path), zap.String("file_system", kind))
}

// Identity returns the absolute path of the file.
func (s *SQLite) Identity() string { return "sqlite:" + s.Path }

func (s *SQLite) String() string { return "SQLite database " + s.Path }

// Open opens the file, or creates it.
func (s *SQLite) Open() (broker.Storage, error) {
	store, err := sqlite.Open(s.Path)
	if err != nil {
		return nil, err // not store: a nil *sqlite.Store in an interface isn't nil
	}
	return store, nil
}

// UnmarshalCaddyfile reads
//
//	sqlite [<path>]
func (s *SQLite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return oneOptionalArg(d, &s.Path)
}

// Postgres keeps everything in a Postgres database, in a schema named claudemesh.
type Postgres struct {
	// The connection string, as a URL (postgres://user:password@host:5432/name) or as
	// key=value pairs. Use a placeholder, {env.NAME} or {file.PATH}, to keep the
	// password out of the adapted config. The broker reads the file, and the passfile
	// that the string may name, again before each new connection, so the password may
	// change while the broker runs. The string may name several hosts; with
	// target_session_attrs=read-write, the broker uses the one that is writable.
	// Default: {env.DATABASE_URL}.
	DSN string `json:"dsn,omitempty"`

	dsn  string // resolved when the config was loaded; secret
	name string // what String returns
}

// CaddyModule returns the Caddy module information.
func (*Postgres) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  storageNamespace + ".postgres",
		New: func() caddy.Module { return new(Postgres) },
	}
}

// Provision resolves the connection string and checks its form.
func (p *Postgres) Provision(caddy.Context) error {
	dsn, err := p.resolve()
	if err != nil {
		return err
	}
	config, err := pgconn.ParseConfig(dsn)
	if err != nil || showsPassword(dsn, config) {
		// Don't wrap the parser's error: it may quote parts of the password.
		return errors.New("storage postgres: dsn is malformed; allowed: postgres://user:password@host:5432/database, or host=... user=... dbname=...; " +
			"in the first form, escape special characters of the password: @ as %40 and / as %2F")
	}
	p.dsn = dsn
	p.name = fmt.Sprintf("Postgres database %s at %s", config.Database,
		net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))))
	return nil
}

// showsPassword reports whether the parser has taken a part of a password for a host or a database, whose
// names are shown: in a URL, a password may contain neither an @ nor a /.
func showsPassword(dsn string, config *pgconn.Config) bool {
	misread := func(host string) bool { return strings.LastIndexByte(host, '@') > 0 } // at 0: an abstract Unix socket
	return misread(config.Host) || slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool { return misread(f.Host) }) ||
		strings.Contains(dsn, "://") && strings.Contains(config.Database, "@")
}

// resolve returns the current connection string.
func (p *Postgres) resolve() (string, error) {
	return expand("storage postgres: dsn", cmp.Or(p.DSN, databaseURL))
}

// Identity returns the connection string as it was when the config was loaded.
func (p *Postgres) Identity() string { return "postgres:" + p.dsn }

func (p *Postgres) String() string { return p.name }

// Open prepares the connection pool. It doesn't dial yet.
func (p *Postgres) Open() (broker.Storage, error) {
	store, err := postgres.OpenWith(p.resolve)
	if err != nil {
		return nil, err
	}
	return store, nil
}

// UnmarshalCaddyfile reads
//
//	postgres [<dsn>]
func (p *Postgres) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return oneOptionalArg(d, &p.DSN)
}

// oneOptionalArg reads the only argument of a module, which is optional.
func oneOptionalArg(d *caddyfile.Dispenser, to *string) error {
	d.Next()
	name := d.Val()
	if d.NextArg() {
		*to = d.Val()
	}
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.Errf("storage %s takes at most one value", name)
	}
	return nil
}

// loadStorage provisions the storage that raw configures. If raw is nil, it provisions
// Postgres if the environment variable DATABASE_URL is set and not empty, else SQLite.
func loadStorage(ctx caddy.Context, raw json.RawMessage) (Storage, error) {
	if raw == nil {
		name := "sqlite"
		if caddy.NewReplacer().ReplaceAll(databaseURL, "") != "" {
			name = "postgres"
		}
		raw = json.RawMessage(`{"module":"` + name + `"}`)
	}
	loader := struct {
		Raw json.RawMessage `caddy:"namespace=claudemesh.storage inline_key=module"`
	}{raw}
	module, err := ctx.LoadModule(&loader, "Raw")
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	storage, ok := module.(Storage)
	if !ok {
		return nil, fmt.Errorf("storage: module %T isn't a storage", module)
	}
	return storage, nil
}

// Interface guards
var (
	_ Storage               = (*SQLite)(nil)
	_ caddy.Provisioner     = (*SQLite)(nil)
	_ caddyfile.Unmarshaler = (*SQLite)(nil)
	_ Storage               = (*Postgres)(nil)
	_ caddy.Provisioner     = (*Postgres)(nil)
	_ caddyfile.Unmarshaler = (*Postgres)(nil)
)
