package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/bench"
	_ "github.com/claudemesh/claudemesh/tests/bench/relay" // registers the module for roleCaddy
	"github.com/claudemesh/claudemesh/tests/internal/harness"
	"github.com/claudemesh/claudemesh/wire"
)

// roleVariable is the environment variable that turns this program into another one.
const roleVariable = "CLAUDEMESH_BENCH_ROLE"

// The roles.
const (
	roleCaddy = "caddy" // with the module bench_relay
	roleNATS  = "nats"  // a server with a file store in the working directory
)

// play plays the role that roleVariable names. It returns false if there is none.
func play() bool {
	switch os.Getenv(roleVariable) {
	case roleCaddy:
		caddycmd.Main()
	case roleNATS:
		if err := serveNATS(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		return false
	}
	return true
}

// serveNATS serves JetStream until the process is killed. It prints its URL.
func serveNATS() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir,
		// The same as "sync_interval: always" in a configuration file.
		SyncAlways: true, SyncInterval: 2 * time.Minute,
	})
	if err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		return errors.New("nats-server is not ready")
	}
	fmt.Println(s.ClientURL())
	s.WaitForShutdown()
	return nil
}

// spawn returns the command that runs this program in a role, in a directory.
func spawn(s *stage, role, dir string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	s.check("find this program", err)
	cmd := exec.Command(self, args...)
	cmd.Dir, cmd.Env = dir, append(harness.HomeEnv(dir), roleVariable+"="+role)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must interrupt only this process
	return cmd
}

// begin starts a process and kills it when the stage ends.
func begin(s *stage, cmd *exec.Cmd) {
	s.check("start "+filepath.Base(cmd.Path), cmd.Start())
	s.Cleanup(func() {
		_ = cmd.Process.Kill() // fails if the process has ended
		_ = cmd.Wait()
	})
}

// startNATS starts a JetStream server and returns its URL.
func startNATS(s *stage) string {
	cmd := spawn(s, roleNATS, harness.ShortTempDir(s))
	out, err := cmd.StdoutPipe()
	s.check("start nats-server", err)
	begin(s, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	s.check("wait for nats-server", err)
	return strings.TrimSpace(line)
}

// relaySite is the bare relay in its Caddy.
type relaySite struct {
	commands harness.Commands
	home     string
	pid      int
	admin    string // the URL of Caddy's admin API
}

const relayCaddyfile = `{
	admin 127.0.0.1:%[2]d
	log {
		level ERROR
	}
}
http://127.0.0.1:%[1]d {
	bind 127.0.0.1
	route {
		bench_relay
	}
}
`

// relay starts the bare relay. It knows no meshes, so relay writes the config by hand.
func (l *lab) relay(s *stage) *relaySite {
	dir := harness.ShortTempDir(s)
	port, admin := harness.FreePort(s), harness.FreePort(s)
	config := filepath.Join(dir, "Caddyfile")
	s.check("write a Caddyfile", os.WriteFile(config, fmt.Appendf(nil, relayCaddyfile, port, admin), 0o600))
	cmd := spawn(s, roleCaddy, dir, "run", "--config", config, "--adapter", "caddyfile")
	var log strings.Builder
	cmd.Stderr = &log
	s.Cleanup(func() { // after the process has ended
		if s.Failed() {
			s.Logf("the relay: %s", log.String())
		}
	})
	begin(s, cmd)
	base := "127.0.0.1:" + strconv.Itoa(port)
	until(s, "the relay answers", await.Patience, func() bool { return get(s.ctx, "http://"+base+"/health", io.Discard) == nil })
	key, err := identity.Generate()
	s.check("make a key", err)
	var ids wire.IDSource
	m := peer.Mesh{
		MeshID: ids.New(time.Now()).String(), MemberID: ids.New(time.Now()).String(), Slug: "bench", Name: "bench",
		Member: key, BrokerURL: "ws://" + base + "/ws", JoinedAt: time.Now(), Key: envelope.NewMeshKey(),
	}
	s.check("write a config", peer.UpdateConfig(s.ctx, peer.Dir(filepath.Join(dir, ".claudemesh")), func(c *peer.Config) error {
		c.Meshes = append(c.Meshes, m)
		return nil
	}))
	return &relaySite{
		commands: l.commands, home: dir, pid: cmd.Process.Pid,
		admin: "http://127.0.0.1:" + strconv.Itoa(admin),
	}
}

// bench runs a bench against the relay.
func (r *relaySite) bench(s *stage, args ...string) *bench.Result {
	result, failed := r.lossy(s, args...)
	if failed != "" {
		s.Error(failed)
	}
	return result
}

// lossy is bench, but messages may get lost: the relay keeps none for absent sessions.
func (r *relaySite) lossy(s *stage, args ...string) (result *bench.Result, failed string) {
	return runBench(s, claudemesh(s.ctx, r.commands, r.home, benchArgs(args, "--pid", strconv.Itoa(r.pid))...))
}

func (r *relaySite) cpu(s *stage) time.Duration {
	d, err := processTime(s.ctx, r.admin)
	s.check("read the metrics", err)
	return d
}
