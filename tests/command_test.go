package tests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// person is a user with their own configuration of the claudemesh command.
type person struct {
	t   testing.TB
	dir string // CLAUDEMESH_CONFIG_DIR
	env []string
}

// newPerson returns a person who has joined no mesh and has an empty home. env is added to
// the environment.
func newPerson(t testing.TB, s *server, env ...string) *person {
	t.Helper()
	home := t.TempDir()
	p := &person{t: t, dir: filepath.Join(home, ".claudemesh")}
	p.env = append(homeEnv(home), "CLAUDEMESH_BROKER_URL="+s.WSURL())
	p.env = append(p.env, env...)
	return p
}

func (p *person) command(args ...string) *exec.Cmd {
	cmd := exec.Command(commands.Claudemesh, args...)
	cmd.Env, cmd.Dir = p.env, filepath.Dir(p.dir)
	return cmd
}

// run runs the command and waits until it exits.
func (p *person) run(args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	return p.runWith("", args...)
}

// runWith is run with standard input.
func (p *person) runWith(stdin string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	var out, errOut bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("claudemesh %v: %v", args, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// must runs a command, which must succeed, and returns its standard output.
func (p *person) must(args ...string) string {
	p.t.Helper()
	out, errOut, code := p.run(args...)
	if code != 0 {
		p.t.Fatalf("claudemesh %v: exit code %d\n%s%s", args, code, out, errOut)
	}
	return out
}

// fails runs a command, which must fail with the exit code and print says.
func (p *person) fails(code int, says string, args ...string) {
	p.t.Helper()
	out, errOut, got := p.run(args...)
	if got != code || !strings.Contains(errOut, says) {
		p.t.Errorf("claudemesh %v: exit code %d, want %d; it should say %q:\n%s%s", args, got, code, says, out, errOut)
	}
}

// list runs a command whose output is a JSON array.
func (p *person) list(args ...string) []frame {
	p.t.Helper()
	out := p.must(args...)
	var rows []frame
	if err := json.Unmarshal([]byte(out), &rows); err != nil || rows == nil {
		p.t.Fatalf("claudemesh %v prints no JSON array: %v\n%s", args, err, out)
	}
	return rows
}

// invite creates an invite link.
func (p *person) invite(args ...string) string {
	p.t.Helper()
	return strings.TrimSpace(p.must(append([]string{"invite"}, args...)...))
}

// config returns the first mesh of the config file.
func (p *person) config() frame {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, "config.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	return parse(p.t, string(b)).list("meshes")[0]
}

// process is a running command.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	lines chan string // of standard output; closed at its end
	done  chan struct{}
	errs  bytes.Buffer // read it only after done
}

// start starts a command that runs until it is stopped.
func (p *person) start(args ...string) *process {
	p.t.Helper()
	return startProcess(p.t, p.command(args...))
}

func startProcess(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pr := &process{t: t, cmd: cmd, lines: make(chan string, 1000), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = w, &pr.errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		defer close(pr.lines)
		defer r.Close()
		scanner := bufio.NewScanner(r)
		for scanner.Scan() {
			pr.lines <- scanner.Text()
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	go func() {
		_ = cmd.Wait()
		close(pr.done)
	}()
	t.Cleanup(pr.stop)
	return pr
}

// line waits for the next line of output.
func (pr *process) line() string {
	pr.t.Helper()
	return pr.lineWithin(patience)
}

func (pr *process) lineWithin(limit time.Duration) string {
	pr.t.Helper()
	select {
	case line, ok := <-pr.lines:
		if !ok {
			<-pr.done
			pr.t.Fatalf("%v has ended: %s", pr.cmd.Args, pr.errs.String())
		}
		return line
	case <-time.After(limit):
		pr.t.Fatalf("%v prints nothing", pr.cmd.Args)
	}
	return ""
}

// stop interrupts the process, like Ctrl-C, and waits until it exits.
func (pr *process) stop() {
	_ = pr.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-pr.done:
	case <-time.After(patience):
		pr.t.Errorf("%v did not end on an interrupt", pr.cmd.Args)
		_ = pr.cmd.Process.Kill()
	}
}
