package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// machine stands for a server with the Debian package of the broker. Its files are below a
// directory of its own, and the paths in commands and in the files of the package are replaced so.
//
// Three commands of a real machine are not the real ones, because they would need a root
// file system and systemd: apt copies the files that deploy/deb/claudemesh-broker.yaml lists and
// restarts the service as the package's scripts do; systemctl runs what the unit says, and waits until it
// is ready; systemd-run runs a command with the service's environment. The real ones are tried by
// operator.TestPackages and, in the long form, operator.TestService.
type machine struct {
	t      testing.TB
	dir    string
	yours  *[]string // pairs of what a page calls yours, and what is there instead
	socket string
	env    []string // what tells this machine from the others, which share its addresses

	mu        sync.Mutex
	installed bool
	cmd       *exec.Cmd // nil: the service does not run
	exited    chan struct{}
}

// adminLine is where the admin socket is unless the environment says otherwise.
var adminLine = regexp.MustCompile(`\{\$CADDY_ADMIN:unix/caddy-admin[-a-z]*\.sock\|0200\}`)

const (
	unitFile    = "/usr/lib/systemd/system/claudemesh-broker.service"
	machinePath = "CLAUDEMESH_TEST_MACHINE" // the socket at which apt and systemctl ask the test
)

// newMachine returns a machine without the package.
func newMachine(t testing.TB, yours *[]string, env ...string) *machine {
	t.Helper()
	m := &machine{t: t, dir: shortTempDir(t), yours: yours, env: env}
	for _, dir := range []string{"bin", "root", "var/lib", "var/backups"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"apt", "systemctl", "systemd-run"} {
		script := fmt.Sprintf("#!/bin/sh\nexec '%s' %s \"$@\"\n", program, name)
		if err := os.WriteFile(filepath.Join(m.dir, "bin", name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m.socket = filepath.Join(m.dir, "machine.sock")
	l, err := net.Listen("unix", m.socket)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		m.serve(l)
	}()
	t.Cleanup(func() {
		l.Close()
		<-served
		m.kill()
		harness.CheckLog(t, "the broker in "+m.dir, m.log())
	})
	return m
}

// place replaces the paths of a real machine, and what a page calls yours.
func (m *machine) place(text string) string {
	pairs := slices.Clone(*m.yours)
	for _, path := range []string{"/etc/claudemesh", "/var/lib/claudemesh", "/var/backups", "/run/claudemesh", "/usr/lib/claudemesh", "/usr/share/claudemesh-broker"} {
		pairs = append(pairs, path, m.dir+path)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

func (m *machine) log() string {
	log, err := os.ReadFile(filepath.Join(m.dir, "broker.log"))
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// run runs commands as root of the machine would.
func (m *machine) run(block string) (string, error) {
	cmd := exec.Command("sh", "-ec", m.place(block))
	cmd.Dir = filepath.Join(m.dir, "root")
	cmd.Env = append(slices.Clone(m.env), machinePath+"="+m.socket, "HOME="+cmd.Dir, "MACHINE_ENV="+strings.Join(m.env, "\n"),
		"PATH="+strings.Join([]string{filepath.Join(m.dir, "bin"), filepath.Join(m.dir, "usr", "bin"), pgtest.Tools(m.t), os.Getenv("PATH")}, ":"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// kill ends the service like a power failure.
func (m *machine) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.endLocked(syscall.SIGKILL)
}

// answer is what apt or systemctl prints and its exit code.
type answer struct {
	Text string
	Code int
}

// runMachineCommand is the program behind apt, systemctl and systemd-run of a machine.
func runMachineCommand(socket string, args []string) {
	if args[0] == "systemd-run" {
		runAsService(args[1:])
	}
	conn, err := net.Dial("unix", socket)
	if err == nil {
		err = json.NewEncoder(conn).Encode(args)
	}
	var a answer
	if err == nil {
		err = json.NewDecoder(conn).Decode(&a)
	}
	if err != nil {
		a = answer{err.Error() + "\n", 1}
	}
	fmt.Fprint(os.Stderr, a.Text)
	os.Exit(a.Code)
}

// runAsService replaces this process with a command that has the environment of a service.
func runAsService(args []string) {
	env := append(strings.Split(os.Getenv("MACHINE_ENV"), "\n"), "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"))
	for len(args) > 0 && strings.HasPrefix(args[0], "--") {
		name, value, _ := strings.Cut(args[0], "=")
		switch name {
		case "--property":
			if file, ok := strings.CutPrefix(value, "EnvironmentFile=-"); ok {
				env = append(env, environmentFile(file)...)
			}
		case "--setenv":
			env = append(env, value)
		case "--working-directory":
			if err := os.Chdir(value); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		args = args[1:]
	}
	fmt.Fprintln(os.Stderr, syscall.Exec(args[0], args, env))
	os.Exit(1)
}

// environmentFile reads a file of variables as systemd does.
func environmentFile(path string) (env []string) {
	text, _ := os.ReadFile(path) // it may not exist
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			env = append(env, name+"="+strings.Trim(value, `"`))
		}
	}
	return env
}

func (m *machine) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		var args []string
		var a answer
		if err := json.NewDecoder(conn).Decode(&args); err != nil {
			a = answer{err.Error() + "\n", 1}
		} else if err := m.handle(strings.Join(args, " ")); err != nil {
			a = answer{err.Error() + "\n", 1}
		}
		_ = json.NewEncoder(conn).Encode(a) // the command has ended
		conn.Close()
	}
}

func (m *machine) handle(command string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case strings.HasPrefix(command, "apt install ./claudemesh-broker_"):
		running := m.cmd != nil
		fresh := !m.installed
		if err := m.installLocked(); err != nil {
			return err
		}
		if running {
			m.endLocked(syscall.SIGTERM)
		}
		if running || fresh {
			return m.startLocked()
		}
		return nil
	case command == "apt purge claudemesh-broker":
		m.endLocked(syscall.SIGTERM)
		m.installed = false
		return errors.Join(os.RemoveAll(m.dir+"/etc/claudemesh"), os.RemoveAll(m.dir+"/usr"))
	case command == "systemctl stop claudemesh-broker":
		m.endLocked(syscall.SIGTERM)
		return nil
	case command == "systemctl start claudemesh-broker":
		return m.startLocked()
	case command == "systemctl restart claudemesh-broker":
		m.endLocked(syscall.SIGTERM)
		return m.startLocked()
	default:
		return fmt.Errorf("this machine can't do %q", command)
	}
}

// installLocked copies the files of the package.
func (m *machine) installLocked() error {
	list, err := os.ReadFile(filepath.Join(commands.Repo, "deploy", "deb", "claudemesh-broker.yaml"))
	if err != nil {
		return err
	}
	for _, entry := range regexp.MustCompile(`(?m)^  - \{src: "?([^",]+)"?, dst: ([^,]+),(.*)\}$`).FindAllStringSubmatch(string(list), -1) {
		src, dst := entry[1], m.dir+entry[2]
		if strings.Contains(src, "*") {
			continue // man pages
		}
		if _, err := os.Stat(dst); err == nil && strings.Contains(entry[3], "type: config") {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		if src == "${PROGRAMS}/caddy" {
			if err := os.Symlink(commands.Caddy, dst); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			continue
		}
		src = strings.NewReplacer("${WORK}/broker/caddyfiles", "examples/caddyfiles", "${WORK}/broker/", "").Replace(src)
		text, err := os.ReadFile(filepath.Join(commands.Repo, src))
		if err != nil {
			return err
		}
		// As scripts/release does.
		packaged := adminLine.ReplaceAllLiteralString(string(text), "{$CADDY_ADMIN:unix//run/claudemesh/admin.sock|0200}")
		if err := os.WriteFile(dst, []byte(m.place(packaged)), 0o700); err != nil {
			return err
		}
	}
	m.installed = true
	return nil
}

// startLocked starts the service as its unit says, and waits until it is ready.
func (m *machine) startLocked() error {
	if m.cmd != nil {
		return nil
	}
	unit, err := os.ReadFile(m.dir + unitFile)
	if err != nil {
		return err
	}
	for _, dir := range []string{"/run/claudemesh", "/var/lib/claudemesh"} {
		if err := os.MkdirAll(m.dir+dir, 0o700); err != nil {
			return err
		}
	}
	notify := filepath.Join(m.dir, "notify.sock")
	_ = os.Remove(notify) // of the last start
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer socket.Close()
	env := append(slices.Clone(m.env), "PATH="+os.Getenv("PATH"), "HOME="+m.dir+"/var/lib/claudemesh", "NOTIFY_SOCKET="+notify)
	var args []string
	for line := range strings.Lines(string(unit)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "Environment":
			env = append(env, strings.Fields(value)...)
		case "EnvironmentFile":
			env = append(env, environmentFile(strings.TrimPrefix(value, "-"))...)
		case "ExecStart":
			args = strings.Fields(value)
		}
	}
	log, err := os.OpenFile(filepath.Join(m.dir, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.dir, env, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	m.cmd, m.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // the log has the reason
		close(exited)
		_ = socket.SetReadDeadline(time.Now())
	}()
	message := make([]byte, 1000)
	for {
		n, err := socket.Read(message)
		if err != nil {
			m.endLocked(syscall.SIGKILL)
			return fmt.Errorf("the service is not ready: %w\n%s", err, m.log())
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			return nil
		}
	}
}

func (m *machine) endLocked(sig syscall.Signal) {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(sig) // it may have ended
	select {
	case <-m.exited:
	case <-time.After(patience):
		_ = m.cmd.Process.Kill()
		<-m.exited
		m.t.Errorf("the broker did not end after %v", sig)
	}
	m.cmd = nil
}
