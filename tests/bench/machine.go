package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// machine describes the machine of the measurement, without host names and paths.
type machine struct {
	Cores      int
	Processor  string
	MemoryGB   float64
	Kernel     string
	FileSystem string
	SyncMillis float64 // the median time to write and sync a page
	Go         string
	Commit     string // the commit of this repository
	Caddy      string
	Postgres   string
	SQLite     string
	NATS       string
}

func (l *lab) describe(s *stage) (machine, error) {
	m := machine{
		Cores: runtime.NumCPU(), Processor: procField("/proc/cpuinfo", "model name"), Go: runtime.Version(), NATS: server.VERSION,
	}
	m.Caddy, _ = caddy.Version()
	kb, _, _ := strings.Cut(procField("/proc/meminfo", "MemTotal"), " ")
	if n, err := strconv.ParseFloat(kb, 64); err == nil {
		m.MemoryGB = n / (1 << 20)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, err
	}
	m.Kernel = string(bytes.TrimRight(name.Release[:], "\x00"))
	git := exec.CommandContext(s.ctx, "git", "describe", "--tags", "--always", "--dirty")
	git.Dir = l.commands.Repo
	if out, err := git.Output(); err == nil { // unknown outside a repository
		m.Commit = strings.TrimSpace(string(out))
	}
	var err error
	if m.FileSystem, m.SyncMillis, err = lookAtDisk(harness.ShortTempDir(s)); err != nil {
		return m, err
	}
	if m.Postgres, err = postgresVersion(s.ctx, l.dsn(s, "")); err != nil {
		return m, err
	}
	m.SQLite, err = sqliteVersion(s.ctx)
	return m, err
}

// procField returns the first value of a name in a file of proc(5), "" if there is none.
func procField(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystems maps the magic numbers of statfs(2) to names.
var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.TMPFS_MAGIC: "tmpfs (in memory: nothing is synced)",
}

// lookAtDisk returns the file system of the databases and the time to sync a page.
func lookAtDisk(dir string) (fileSystem string, syncMillis float64, err error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return "", 0, err
	}
	fileSystem = fileSystems[fs.Type]
	if fileSystem == "" {
		fileSystem = fmt.Sprintf("%#x", fs.Type)
	}
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	page := make([]byte, 4096)
	var times []float64
	for range 101 {
		start := time.Now()
		if _, err := f.Write(page); err != nil {
			return "", 0, err
		}
		if err := f.Sync(); err != nil {
			return "", 0, err
		}
		times = append(times, millis(time.Since(start)))
	}
	s, _ := spreadOf(times)
	return fileSystem, s.Median, nil
}

func postgresVersion(ctx context.Context, dsn string) (version string, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, `SHOW server_version`).Scan(&version)
	version, _, _ = strings.Cut(version, " ") // the rest names a distribution
	return version, err
}

func sqliteVersion(ctx context.Context) (version string, err error) {
	db, err := sql.Open("sqlite", ":memory:") // the driver that the storage uses
	if err != nil {
		return "", err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version)
	return version, err
}
