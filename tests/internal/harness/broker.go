package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/netns"
)

// Broker is bin/caddy with the repository's Caddyfile.
type Broker struct {
	Config string   // the Caddyfile
	Home   string   // HOME, with the XDG directories below it
	Env    []string // the environment of the process
	Port   int

	t        testing.TB
	commands Commands
	host     *netns.Host // nil: this machine
	cmd      *exec.Cmd
	exited   chan struct{} // closed when cmd has ended
	err      error         // the result of cmd.Wait
}

// NewBroker prepares a broker without starting it. env holds settings as NAME=value. The broker
// stops when the test ends. The test fails if the broker's log has a data race or a panic.
func NewBroker(t testing.TB, c Commands, env ...string) *Broker {
	t.Helper()
	b := &Broker{t: t, commands: c, Config: filepath.Join(c.Repo, "Caddyfile"), Home: ShortTempDir(t), Port: FreePort(t)}
	b.Env = append(HomeEnv(b.Home),
		"BROKER_PORT="+strconv.Itoa(b.Port),
		"CADDY_ADMIN=unix/"+filepath.Join(b.Home, "admin.sock"),
	)
	b.Env = append(b.Env, env...)
	t.Cleanup(func() {
		b.Kill()
		CheckLog(t, "the broker at "+b.Address(), b.Log())
	})
	return b
}

// On puts the broker, which has not been started, on a host of a network. It then serves everybody at the
// host's address, and everybody may create meshes.
func (b *Broker) On(h *netns.Host) {
	b.host, b.Port = h, sitePort
	b.Env = append(b.Env, fmt.Sprintf("CLAUDEMESH_SITE=http://:%d", sitePort), "CREATE_MESHES=open")
}

// sitePort is the port of a broker on a host of a network.
const sitePort = 8080

// JoinCluster makes the broker, which has not been started, a node of a cluster: the shipped
// Caddyfile with the option cluster. The node listens at an address, and the further lines are those of the
// option's block.
func (b *Broker) JoinCluster(listen string, more ...string) {
	b.t.Helper()
	shipped, err := os.ReadFile(filepath.Join(b.commands.Repo, "Caddyfile"))
	if err != nil {
		b.t.Fatal(err)
	}
	const directive = "\tclaudemesh {\n"
	option := fmt.Sprintf("%s\t\tcluster {\n\t\t\tlisten %s\n\t\t\t%s\n\t\t}\n", directive, listen, strings.Join(more, "\n"))
	b.Config = filepath.Join(b.Home, "Caddyfile")
	if err := os.WriteFile(b.Config, []byte(strings.Replace(string(shipped), directive, option, 1)), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// Start starts the process and waits until it is ready.
func (b *Broker) Start() {
	b.t.Helper()
	b.Launch()
	b.AwaitReady()
}

// Launch starts the process.
func (b *Broker) Launch() {
	b.t.Helper()
	log, err := os.OpenFile(b.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(b.commands.Caddy, "run", "--config", b.Config, "--adapter", "caddyfile")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = b.Home, b.Env, log, log
	if err := b.host.Start(cmd); err != nil {
		b.t.Fatal(err)
	}
	exited := make(chan struct{})
	b.cmd, b.exited = cmd, exited
	go func() { // ends with the process; end waits for it
		b.err = cmd.Wait()
		close(exited)
	}()
}

// AwaitReady waits until the broker accepts messages.
func (b *Broker) AwaitReady() {
	b.t.Helper()
	await.Until(b.t, "the broker is ready", func() bool {
		select {
		case <-b.exited:
			b.t.Fatalf("the broker has ended: %v\n%s", b.err, b.LogTail())
		default:
		}
		status, _ := b.TryGet("/health/ready")
		return status == http.StatusOK
	})
}

// Running reports whether the process was started and not ended since.
func (b *Broker) Running() bool { return b.cmd != nil }

// PID returns the id of the process, which must be running.
func (b *Broker) PID() int { return b.cmd.Process.Pid }

// Kill kills the process with SIGKILL, like a power failure.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

// Stop stops the process with SIGTERM, like an operator.
func (b *Broker) Stop() { b.end(syscall.SIGTERM) }

func (b *Broker) end(sig syscall.Signal) {
	b.t.Helper()
	if b.cmd == nil {
		return
	}
	if err := b.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		b.t.Fatal(err)
	}
	select {
	case <-b.exited:
	case <-time.After(await.Patience):
		_ = b.cmd.Process.Kill()
		b.t.Errorf("the broker did not end after %v", sig)
	}
	b.cmd = nil
}

func (b *Broker) logPath() string { return filepath.Join(b.Home, "broker.log") }

// Log returns the broker's log.
func (b *Broker) Log() string {
	text, err := os.ReadFile(b.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LogTail returns the end of the log.
func (b *Broker) LogTail() string { return tail(b.Log()) }

// RunCaddy runs a caddy subcommand in the broker's environment.
func (b *Broker) RunCaddy(args ...string) (stdout string, code int) {
	b.t.Helper()
	cmd := exec.Command(b.commands.Caddy, args...)
	cmd.Dir, cmd.Env = b.Home, b.Env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatalf("caddy %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Address returns where the broker serves, with the port.
func (b *Broker) Address() string {
	host := "127.0.0.1"
	if b.host != nil {
		host = b.host.Address
	}
	return net.JoinHostPort(host, strconv.Itoa(b.Port))
}

// URL returns the URL of a path of the HTTP API.
func (b *Broker) URL(path string) string {
	return "http://" + b.Address() + path
}

// WSURL returns the URL of the WebSocket.
func (b *Broker) WSURL() string { return "ws://" + b.Address() + "/ws" }

// HTTPClient keeps no idle connections, because tests restart brokers.
var HTTPClient = &http.Client{Timeout: await.Patience, Transport: &http.Transport{DisableKeepAlives: true}}

// TryGet returns the status and the body of a GET; the status is 0 if there is no answer.
func (b *Broker) TryGet(path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL(path), nil)
	if err != nil {
		return 0, err.Error()
	}
	res, err := HTTPClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(answer)
}
