package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/internal/netns"
)

// patience bounds the time that a cluster takes to start or stop.
const patience = time.Minute

// cluster is a Postgres server and its files.
type cluster struct {
	bin        string // directory of the binaries
	dir        string
	data       string      // the data directory
	host       *netns.Host // nil: this machine
	port       int
	durable    bool
	credential *syscall.Credential // nil: the current user

	process *os.Process   // nil if not running
	exited  chan struct{} // closed when the process has ended
}

// newCluster creates the files of a cluster and starts it.
func newCluster(o options) (c *cluster, err error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	c = &cluster{bin: bin, dir: dir, data: filepath.Join(dir, "data"), host: o.host, durable: o.durable}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove())
		}
	}()
	if os.Geteuid() == 0 {
		if err := c.dropRoot(); err != nil {
			return nil, err
		}
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", c.data, "--username", "postgres",
		"--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync")
	initdb.Dir = dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: c.credential}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if c.host != nil {
		if err := c.trustOthers(); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ { // retry: another process may take the port before Postgres
		if c.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = c.start(); err == nil || try == 3 {
			return c, err
		}
	}
}

// binaries finds the directory of initdb and postgres.
func binaries() (string, error) {
	dirs := filepath.SplitList(os.Getenv("PATH"))
	versions, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well-formed
	slices.Reverse(versions)                                  // newest first
	dirs = append(dirs, versions...)
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, dir := range dirs {
		// initdb in PATH may be a link to a wrapper: use the real directory.
		path, err := filepath.EvalSymlinks(filepath.Join(dir, "initdb"))
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "postgres")); err == nil {
			return filepath.Dir(path), nil
		}
	}
	return "", errors.New("these tests need Postgres, but initdb and postgres are neither in PATH nor in /usr/lib/postgresql; " +
		"run `make test`, which installs them, or set CLAUDEMESH_TEST_POSTGRES to the DSN of a server whose user may create databases")
}

// dropRoot chooses the user that runs the cluster and makes it the owner of the files.
func (c *cluster) dropRoot() error {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return fmt.Errorf("find a user to run Postgres as: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	c.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(c.dir, int(uid), int(gid))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// trustOthers lets everybody in from everywhere; initdb lets in only the machine itself.
func (c *cluster) trustOthers() error {
	rules, err := os.OpenFile(filepath.Join(c.data, "pg_hba.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = rules.WriteString("host all all all trust\nhost replication all all trust\n")
	return errors.Join(err, rules.Close())
}

// address returns where the server listens.
func (c *cluster) address() string {
	if c.host == nil {
		return "127.0.0.1"
	}
	return c.host.Address
}

func (c *cluster) hostPort() string { return net.JoinHostPort(c.address(), strconv.Itoa(c.port)) }

func (c *cluster) dsn(database string) string {
	return fmt.Sprintf("postgres://postgres@%s/%s?sslmode=disable", c.hostPort(), database)
}

// start starts the server and waits until it answers.
func (c *cluster) start() error {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	set := []string{"listen_addresses=" + c.address(), "port=" + strconv.Itoa(c.port), "unix_socket_directories=",
		"max_connections=200", "shared_buffers=64MB"}
	if !c.durable {
		set = append(set, "fsync=off", "full_page_writes=off")
	}
	cmd := exec.Command(filepath.Join(c.bin, "postgres"), "-D", c.data)
	for _, s := range set {
		cmd.Args = append(cmd.Args, "-c", s)
	}
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: c.credential,
		Setpgid:    true,            // Ctrl-C in the tests must not interrupt Postgres
		Pdeathsig:  syscall.SIGQUIT, // immediate shutdown
	}
	started, exited := make(chan error), make(chan struct{})
	go func() {
		// Pdeathsig fires when the thread that started the process ends, so keep
		// the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.host.Enter()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			_ = cmd.Wait() // the exit status doesn't matter
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	c.process, c.exited = cmd.Process, exited
	return c.awaitReady()
}

func (c *cluster) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.dsn("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-c.exited:
			c.process = nil
			return fmt.Errorf("postgres ended:\n%s", c.log())
		case <-ctx.Done():
			return fmt.Errorf("postgres doesn't answer: %w\n%s", err, c.log())
		}
	}
}

func (c *cluster) log() []byte {
	log, _ := os.ReadFile(filepath.Join(c.dir, "log")) // best effort, for an error message
	return log
}

// end sends a signal to the postmaster, if it runs, and waits until the postmaster and
// its children have ended.
func (c *cluster) end(signal syscall.Signal) error {
	if c.process == nil {
		return nil
	}
	all := c.processes()
	targets := all[:1]
	if signal == syscall.SIGKILL { // the postmaster can't pass this one on
		targets = all
	}
	for _, pid := range targets {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal postgres: %w", err)
		}
	}
	deadline := time.After(patience)
	select {
	case <-c.exited:
	case <-deadline:
		return fmt.Errorf("postgres doesn't end after %s:\n%s", signal, c.log())
	}
	c.process = nil
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range all[1:] {
		for syscall.Kill(pid, 0) == nil && parent(pid) >= 0 {
			select {
			case <-tick.C:
			case <-deadline:
				return fmt.Errorf("process %d of postgres doesn't end", pid)
			}
		}
	}
	return nil
}

// processes lists the postmaster and its children. It finds the children by their parent,
// since each has its own session and process group.
func (c *cluster) processes() []int {
	all := []int{c.process.Pid}
	entries, _ := os.ReadDir("/proc") // on error, list only the postmaster
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && parent(pid) == c.process.Pid {
			all = append(all, pid)
		}
	}
	return all
}

// parent returns the parent of a process, or -1 if the process has ended (proc(5)).
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return -1
	}
	// The name in parentheses may contain spaces and parentheses: skip past the last one.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 || fields[0] == "Z" {
		return -1
	}
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		return -1
	}
	return ppid
}

// remove stops the server and removes its files.
func (c *cluster) remove() error {
	return errors.Join(c.end(syscall.SIGQUIT), os.RemoveAll(c.dir))
}
