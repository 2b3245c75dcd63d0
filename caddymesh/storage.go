package caddymesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

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

// Storage is a guest module that says where a broker keeps what it knows.
// Provisioning one must touch nothing; Open is called when the broker starts.
type Storage interface {
	// Identity returns what two configurations of the same storage have in
	// common. It may hold secrets and is never shown.
	Identity() string
	// String describes the storage for people, without secrets.
	String() string
	// Open makes the storage ready for use. A database that is merely out of
	// reach is no error yet.
	Open() (broker.Storage, error)
}

// SQLite keeps everything in one file, through the embedded database SQLite. It
// needs no set-up and is right for a broker that runs on one machine.
type SQLite struct {
	// The database file; its directory is made if need be. Placeholders are
	// replaced. Default: claudemesh/claudemesh.db in Caddy's data directory.
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
			return errors.New("storage sqlite: Caddy's data directory is not known, since neither HOME nor XDG_DATA_HOME is set; " +
				"set one of them as it is set for the broker, or name the database (storage sqlite <path>, --sqlite <path> for commands)")
		}
		s.Path = filepath.Join(dir, "claudemesh", "claudemesh.db")
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(s.Path, true, true)
	if err != nil {
		return fmt.Errorf("storage sqlite: path: %w", err)
	}
	if s.Path, err = filepath.Abs(path); err != nil {
		return fmt.Errorf("storage sqlite: path: %w", err)
	}
	warnOfNetworkFS(ctx.Logger(), s.Path, netfs.Kind(s.Path))
	return nil
}

// warnOfNetworkFS says what a database on a network file system of a kind needs; nothing
// when kind is "".
func warnOfNetworkFS(log *zap.Logger, path, kind string) {
	if kind == "" {
		return
	}
	log.Warn("the SQLite database is on a network file system: no other machine may open it while the broker runs, "+
		"and its locks and syncs are that system's; put it on a local disk (storage sqlite <path>), or use Postgres",
		zap.String("path", path), zap.String("file_system", kind))
}

// Identity returns the absolute path of the file.
func (s *SQLite) Identity() string { return "sqlite:" + s.Path }

func (s *SQLite) String() string { return "SQLite database " + s.Path }

// Open opens the file, or makes it.
func (s *SQLite) Open() (broker.Storage, error) {
	store, err := sqlite.Open(s.Path)
	if err != nil {
		return nil, err // not store: a nil *sqlite.Store is no nil interface
	}
	return store, nil
}

// UnmarshalCaddyfile reads
//
//	sqlite [<path>]
func (s *SQLite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return oneOptionalArg(d, &s.Path)
}

// Postgres keeps everything in a Postgres database, in a schema of its own named
// claudemesh.
type Postgres struct {
	// The connection string, as a URL (postgres://user:password@host:5432/name)
	// or as key=value pairs. Give it as a placeholder, {env.NAME} or {file.PATH},
	// so that the password stays out of the adapted config. A file is read again before
	// each new connection, and so is the passfile that the string may name: passwords can
	// change while the broker runs. Several hosts may be given, with
	// target_session_attrs=read-write for the one that can be written now.
	// Default: {env.DATABASE_URL}.
	DSN string `json:"dsn,omitempty"`

	dsn  string // resolved when the config was loaded; holds a secret
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
		return fmt.Errorf("storage postgres: dsn: %w", err)
	}
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		// The parser's message may quote parts of the string, and with them the password.
		return errors.New("storage postgres: dsn is not valid; allowed: postgres://user:password@host:5432/database, or host=... user=... dbname=...")
	}
	p.dsn = dsn
	p.name = fmt.Sprintf("Postgres database %s at %s", config.Database,
		net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))))
	return nil
}

// resolve returns the connection string as it is now.
func (p *Postgres) resolve() (string, error) {
	raw := p.DSN
	if raw == "" {
		raw = databaseURL
	}
	return caddy.NewReplacer().ReplaceOrErr(raw, true, true)
}

// Identity returns the connection string as it was when the config was loaded.
func (p *Postgres) Identity() string { return "postgres:" + p.dsn }

func (p *Postgres) String() string { return p.name }

// Open prepares the connection pool; it dials nothing yet.
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

// oneOptionalArg reads a module's only, optional argument.
func oneOptionalArg(d *caddyfile.Dispenser, to *string) error {
	d.Next()
	name := d.Val()
	if d.NextArg() {
		*to = d.Val()
	}
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.Errf("storage %s takes one value at most", name)
	}
	return nil
}

// loadStorage provisions the storage that raw configures. Without one it is
// Postgres when the environment variable DATABASE_URL is set and not empty, else
// SQLite.
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
		return nil, fmt.Errorf("storage: module %T is no storage", module)
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
