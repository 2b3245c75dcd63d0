package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/bench"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// The names of the databases in the table.
const (
	postgresDB = "postgres"
	sqliteDB   = "sqlite"
)

var databases = []string{postgresDB, sqliteDB}

// unlimited holds the settings of a broker whose whole load comes from one member. The high limit
// of connections leaves room for the leased presences of sessions that have left.
var unlimited = []string{
	"SEND_RATE_PER_MIN=1000000000", "SEND_BURST=1000000000", "WORK_PER_MIN=1000000000", "WORK_BURST=1000000000",
	"NEW_SESSIONS_PER_HOUR=1000000000", "MAX_CONNECTIONS_PER_MESH=1000000",
}

// lab is the environment of the probes.
type lab struct {
	quick    bool
	commands harness.Commands
	postgres *pgtest.Server
	// statements reports whether Postgres counts statements (pg_stat_statements).
	statements bool
	made       int // number of databases created
	log        io.Writer
	*results
}

// setUp builds and starts what all probes share.
func (l *lab) setUp(s *stage, repo string) {
	var err error
	l.say("building the commands")
	l.commands, err = harness.Build(repo)
	s.check("build", err)
	s.Cleanup(l.commands.Remove)
	l.say("starting Postgres")
	l.postgres = pgtest.Start(s, pgtest.Durable())
	// Check that the module exists: Postgres doesn't start with a missing one.
	if l.number(s, "", `SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'`) > 0 {
		l.postgres.Exec(`ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`)
		l.postgres.Restart()
		l.postgres.Exec(`CREATE EXTENSION pg_stat_statements`)
		l.statements = true
	}
	l.Machine, err = l.describe(s)
	s.check("inspect the machine", err)
}

func (l *lab) say(format string, args ...any) {
	fmt.Fprintf(l.log, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// short returns full, or quick in a quick run.
func short[T any](l *lab, full, quick T) T {
	if l.quick {
		return quick
	}
	return full
}

// database creates an empty database, which exists until the stage ends, and returns its DSN
// and its name.
func (l *lab) database(s *stage) (dsn, name string) {
	l.made++
	name = fmt.Sprintf("bench_%d", l.made)
	l.postgres.Exec("CREATE DATABASE " + name)
	s.Cleanup(func() { l.postgres.Exec("DROP DATABASE " + name + " WITH (FORCE)") })
	return l.dsn(s, name), name
}

func (l *lab) dsn(s *stage, database string) string {
	u, err := url.Parse(l.postgres.DSN())
	s.check("read the DSN", err)
	if database != "" {
		u.Path = "/" + database
	}
	return u.String()
}

// number returns the numeric result of a query. An empty dsn means the server's default
// database.
func (l *lab) number(s *stage, dsn, query string, args ...any) (n float64) {
	if dsn == "" {
		dsn = l.dsn(s, "")
	}
	conn, err := pgx.Connect(s.ctx, dsn)
	s.check("connect to Postgres", err)
	defer conn.Close(context.WithoutCancel(s.ctx))
	s.check("ask Postgres", conn.QueryRow(s.ctx, query, args...).Scan(&n))
	return n
}

// site is a broker and a mesh that we own.
type site struct {
	*harness.Broker
	lab   *lab
	dsn   string // "" for SQLite
	name  string // the name of the database in Postgres
	admin string // the URL of Caddy's admin API
	home  string // the owner's home
	mesh  peer.Mesh

	address string // of a node in its cluster
}

// broker starts a broker on an empty database.
func (l *lab) broker(s *stage, db string) *site {
	dsn, name := "", ""
	if db == postgresDB {
		dsn, name = l.database(s)
	}
	site := l.prepare(s, dsn, name)
	site.Start()
	site.found(s)
	return site
}

// prepare makes a broker that is not started yet. An empty dsn means SQLite.
func (l *lab) prepare(s *stage, dsn, name string) *site {
	site := &site{lab: l, home: harness.ShortTempDir(s), dsn: dsn, name: name}
	admin := "127.0.0.1:" + strconv.Itoa(harness.FreePort(s))
	site.admin = "http://" + admin
	env := append([]string{"CADDY_ADMIN=" + admin}, unlimited...)
	if dsn != "" {
		env = append(env, "DATABASE_URL="+dsn)
	}
	site.Broker = harness.NewBroker(s, l.commands, env...)
	return site
}

// found creates the mesh of a broker that runs.
func (x *site) found(s *stage) {
	if out, err := x.command(s.ctx, "create", "bench", "--broker", x.WSURL()).CombinedOutput(); err != nil {
		s.Fatalf("create a mesh: %v\n%s", err, out)
	}
	config, err := peer.LoadConfig(x.dir())
	s.check("read the config", err)
	x.mesh = config.Meshes[0]
}

func (x *site) dir() peer.Dir { return configDir(x.home) }

// configDir returns the config directory for a home.
func configDir(home string) peer.Dir { return peer.Dir(filepath.Join(home, ".claudemesh")) }

// command returns a claudemesh command of the mesh's owner. When ctx ends, the command gets an
// interrupt, like Ctrl-C.
func (x *site) command(ctx context.Context, args ...string) *exec.Cmd {
	return claudemesh(ctx, x.lab.commands, x.home, args...)
}

func claudemesh(ctx context.Context, c harness.Commands, home string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Claudemesh, args...)
	cmd.Env = harness.HomeEnv(home)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// shown returns the command line of a bench.
func shown(args ...string) string { return "claudemesh bench " + strings.Join(args, " ") }

// bench runs `claudemesh bench` against the broker.
func (x *site) bench(s *stage, args ...string) *bench.Result {
	r, failed := runBench(s, x.command(s.ctx, benchArgs(args, "--metrics", x.admin+"/metrics")...))
	if failed != "" {
		s.Error(failed)
	}
	return r
}

func benchArgs(args []string, more ...string) []string {
	return append(append(append([]string{"bench"}, args...), "--json"), more...)
}

// runBench runs a bench and reads its result. failed says what the bench found wrong, such as
// lost messages; "" if nothing.
func runBench(s *stage, cmd *exec.Cmd) (result *bench.Result, failed string) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ended := cmd.Run()
	if err := s.ctx.Err(); err != nil {
		s.Fatal(err) // the figures of an interrupted run don't count
	}
	result, err := bench.Read(strings.NewReader(stdout.String()))
	if err != nil {
		s.Fatalf("%s: %v: %s", shown(cmd.Args[2:]...), ended, strings.TrimSpace(stderr.String()))
	}
	if ended != nil {
		failed = fmt.Sprintf("%s: %v: %s", shown(cmd.Args[2:]...), ended, strings.TrimSpace(stderr.String()))
	}
	return result, failed
}

// gauge reads the broker's metrics.
func (x *site) gauge(s *stage) bench.Reading {
	r, err := bench.Metrics(x.admin+"/metrics", nil)(s.ctx)
	s.check("read the metrics", err)
	return r
}

// cpu returns the processor time that the broker has used.
func (x *site) cpu(s *stage) time.Duration {
	d, err := processTime(s.ctx, x.admin)
	s.check("read the metrics", err)
	return d
}

// collect makes the broker collect garbage, by requesting a heap profile. It does so twice,
// because pools release their objects only at the second collection.
func (x *site) collect(s *stage) {
	for range 2 {
		s.check("collect garbage", collect(s.ctx, x.admin))
	}
}

func collect(ctx context.Context, admin string) error {
	return get(ctx, admin+"/debug/pprof/heap?gc=1", io.Discard)
}

// answerTime is the time limit for an answer of a Caddy under load.
const answerTime = 30 * time.Second

func get(ctx context.Context, url string, to io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: HTTP %d", url, res.StatusCode)
	}
	_, err = io.Copy(to, res.Body)
	return err
}

// metrics reads samples without labels from a Caddy's metrics. A missing sample is an error: as 0 it
// would become a figure.
func metrics(ctx context.Context, admin string, names ...string) ([]float64, error) {
	var text strings.Builder
	if err := get(ctx, admin+"/metrics", &text); err != nil {
		return nil, err
	}
	values, found := make([]float64, len(names)), make([]bool, len(names))
	for line := range strings.Lines(text.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if i := slices.Index(names, name); i >= 0 {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return nil, fmt.Errorf("read metrics: %s: %w", name, err)
			}
			values[i], found[i] = v, true
		}
	}
	if i := slices.Index(found, false); i >= 0 {
		return nil, fmt.Errorf("read metrics: %s has no %s", admin, names[i])
	}
	return values, nil
}

// processTime reads a process's processor time from its metrics.
func processTime(ctx context.Context, admin string) (time.Duration, error) {
	v, err := metrics(ctx, admin, "process_cpu_seconds_total")
	if err != nil {
		return 0, err
	}
	return time.Duration(v[0] * float64(time.Second)), nil
}

// progress holds the broker's counters since its start.
type progress struct{ accepted, stored, commits float64 }

func (x *site) progress(s *stage) progress {
	const prefix = "caddy_claudemesh_"
	v, err := metrics(s.ctx, x.admin, prefix+"messages_accepted_total", prefix+"messages_stored_total", prefix+"commits_total")
	s.check("read the metrics", err)
	return progress{v[0], v[1], v[2]}
}

// drain waits until all accepted messages are stored. A message that its recipients have
// acknowledged may be stored long after the sender got its ack.
func (x *site) drain(s *stage) (p progress) {
	until(s, "all messages are stored", time.Minute, func() bool {
		p = x.progress(s)
		return p.stored >= p.accepted
	})
	return p
}

// until waits until ok returns true. It ends the probe after the limit.
func until(s *stage, what string, limit time.Duration, ok func() bool) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatal(s.ctx.Err())
		case <-deadline.C:
			s.Fatalf("timed out waiting until %s", what)
		}
	}
}
