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

// The databases, as the table names them.
const (
	postgresDB = "postgres"
	sqliteDB   = "sqlite"
)

var databases = []string{postgresDB, sqliteDB}

// unlimited are the settings of a broker whose one member is the load. Nobody waits
// for a lease here, and sessions that have left must not count as members of a mesh.
var unlimited = []string{
	"SEND_RATE_PER_MIN=1000000000", "SEND_BURST=1000000000", "WORK_PER_MIN=1000000000", "WORK_BURST=1000000000",
	"NEW_SESSIONS_PER_HOUR=1000000000", "MAX_CONNECTIONS_PER_MESH=1000000",
}

// lab is what the probes measure with.
type lab struct {
	quick    bool
	commands harness.Commands
	postgres *pgtest.Server
	// statements tells that Postgres counts them (pg_stat_statements).
	statements bool
	made       int // databases so far
	log        io.Writer
	*results
}

// setUp starts what all probes share.
func (l *lab) setUp(s *stage, repo string) {
	var err error
	l.say("building the commands")
	l.commands, err = harness.Build(repo)
	s.check("build", err)
	s.Cleanup(l.commands.Remove)
	l.say("starting Postgres")
	l.postgres = pgtest.Start(s, pgtest.Durable())
	// The module must be there before it is asked for: without it Postgres won't start.
	if l.number(s, "", `SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'`) > 0 {
		l.postgres.Exec(`ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'`)
		l.postgres.Restart()
		l.postgres.Exec(`CREATE EXTENSION pg_stat_statements`)
		l.statements = true
	}
	l.Machine, err = l.describe(s)
	s.check("look at the machine", err)
}

func (l *lab) say(format string, args ...any) {
	fmt.Fprintf(l.log, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// short returns the one or the other, by how long the run may take.
func short[T any](l *lab, full, quick T) T {
	if l.quick {
		return quick
	}
	return full
}

// database makes an empty database for as long as the stage stands, and returns its DSN
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

// number asks Postgres for a number; "" is its own database.
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

// site is a broker, with a mesh of which we are the owner.
type site struct {
	*harness.Broker
	lab   *lab
	dsn   string // "": SQLite
	name  string // of the database in Postgres
	admin string // URL of Caddy's admin API
	home  string // of the owner
	mesh  peer.Mesh
}

// broker starts a broker on an empty database.
func (l *lab) broker(s *stage, db string) *site {
	site := &site{lab: l, home: harness.ShortTempDir(s)}
	admin := "127.0.0.1:" + strconv.Itoa(harness.FreePort(s))
	site.admin = "http://" + admin
	env := append([]string{"CADDY_ADMIN=" + admin}, unlimited...)
	if db == postgresDB {
		site.dsn, site.name = l.database(s)
		env = append(env, "DATABASE_URL="+site.dsn)
	}
	site.Broker = harness.NewBroker(s, l.commands, env...)
	site.Start()
	if out, err := site.command(s.ctx, "create", "bench", "--broker", site.WSURL()).CombinedOutput(); err != nil {
		s.Fatalf("create a mesh: %v\n%s", err, out)
	}
	config, err := peer.LoadConfig(site.dir())
	s.check("read the config", err)
	site.mesh = config.Meshes[0]
	return site
}

func (x *site) dir() peer.Dir { return configDir(x.home) }

// configDir is where the commands of somebody with that home keep their config.
func configDir(home string) peer.Dir { return peer.Dir(filepath.Join(home, ".claudemesh")) }

// command is the claudemesh command of the mesh's owner. It is told to end with ctx, as
// by Ctrl-C.
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

// shown is how people would type a bench.
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

// runBench runs a bench and reads its result. failed says what the bench found to be
// wrong, such as messages that were lost; "" for nothing.
func runBench(s *stage, cmd *exec.Cmd) (result *bench.Result, failed string) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ended := cmd.Run()
	result, err := bench.Read(strings.NewReader(stdout.String()))
	if err != nil {
		s.Fatalf("%s: %v: %s", shown(cmd.Args[2:]...), ended, strings.TrimSpace(stderr.String()))
	}
	if ended != nil {
		failed = fmt.Sprintf("%s: %v: %s", shown(cmd.Args[2:]...), ended, strings.TrimSpace(stderr.String()))
	}
	return result, failed
}

// gauge reads what the broker says of itself.
func (x *site) gauge(s *stage) bench.Reading {
	r, err := bench.Metrics(x.admin+"/metrics", nil)(s.ctx)
	s.check("read the metrics", err)
	return r
}

// cpu is the processor time that the broker has used.
func (x *site) cpu(s *stage) time.Duration {
	d, err := processTime(s.ctx, x.admin)
	s.check("read the metrics", err)
	return d
}

// collect has the broker collect its garbage, by asking for a profile of what is left;
// twice, since what pools hold goes at the second time.
func (x *site) collect(s *stage) {
	for range 2 {
		s.check("collect garbage", collect(s.ctx, x.admin))
	}
}

func collect(ctx context.Context, admin string) error {
	return get(ctx, admin+"/debug/pprof/heap?gc=1", io.Discard)
}

func (x *site) adminURL() string { return x.admin }

// answerTime is for a Caddy that is under load.
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

// metrics reads samples without labels from a Caddy's metrics; one that is missing is 0.
func metrics(ctx context.Context, admin string, names ...string) ([]float64, error) {
	var text strings.Builder
	if err := get(ctx, admin+"/metrics", &text); err != nil {
		return nil, err
	}
	values := make([]float64, len(names))
	for line := range strings.Lines(text.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if i := slices.Index(names, name); i >= 0 {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return nil, fmt.Errorf("read metrics: %s: %w", name, err)
			}
			values[i] = v
		}
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

// progress is what the broker has done since it started.
type progress struct{ accepted, stored, commits float64 }

func (x *site) progress(s *stage) progress {
	const prefix = "caddy_claudemesh_"
	v, err := metrics(s.ctx, x.admin, prefix+"messages_accepted_total", prefix+"messages_stored_total", prefix+"commits_total")
	s.check("read the metrics", err)
	return progress{v[0], v[1], v[2]}
}

// drain waits until all accepted messages are in the storage: what its recipients have
// acknowledged may wait for that long after the sender has its ack.
func (x *site) drain(s *stage) (p progress) {
	until(s, "all messages are stored", time.Minute, func() bool {
		p = x.progress(s)
		return p.stored >= p.accepted
	})
	return p
}

// until waits until ok, and ends the probe when that takes too long.
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
