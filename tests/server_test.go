package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// patience is how long anything that must happen may take.
	patience = 20 * time.Second
	// poll is the pause between looks at what can't be waited for.
	poll = 20 * time.Millisecond
)

// server is a broker: bin/caddy with the repository's Caddyfile.
type server struct {
	t      testing.TB
	config string   // the Caddyfile
	home   string   // HOME, with XDG directories below
	env    []string // of the process
	port   int

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	err    error         // how it ended
}

// startServer starts a broker and waits until it is ready. env are settings as
// NAME=value. It ends with the test.
func startServer(t testing.TB, env ...string) *server {
	t.Helper()
	s := newServer(t, env...)
	s.start()
	return s
}

// newServer prepares a broker without starting it.
func newServer(t testing.TB, env ...string) *server {
	t.Helper()
	s := &server{t: t, config: filepath.Join(repoDir, "Caddyfile"), home: shortTempDir(t), port: freePort(t)}
	s.env = append(homeEnv(s.home),
		"BROKER_PORT="+strconv.Itoa(s.port),
		"CADDY_ADMIN=unix/"+filepath.Join(s.home, "admin.sock"),
	)
	s.env = append(s.env, env...)
	t.Cleanup(func() {
		s.kill()
		if sign := regexp.MustCompile(`DATA RACE|panic|goroutine \d+`).FindString(s.log()); sign != "" {
			t.Errorf("%q is in the log of the broker", sign)
		}
		if t.Failed() {
			t.Logf("log of the broker on port %d:\n%s", s.port, s.logTail())
		}
	})
	return s
}

// homeEnv is the whole environment of a process whose user has nothing yet.
func homeEnv(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home,
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_DATA_HOME=" + filepath.Join(home, "data"),
	}
}

// shortTempDir is like t.TempDir, but short enough for unix sockets in it.
func shortTempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start starts the process and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	s.awaitReady()
}

// launch starts the process.
func (s *server) launch() {
	s.t.Helper()
	log, err := os.OpenFile(s.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(caddyBin, "run", "--config", s.config, "--adapter", "caddyfile")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.home, s.env, log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	go func() {
		s.err = cmd.Wait()
		close(exited)
	}()
}

// awaitReady waits until messages are accepted.
func (s *server) awaitReady() {
	s.t.Helper()
	eventually(s.t, "the broker is ready", func() bool {
		select {
		case <-s.exited:
			s.t.Fatalf("the broker has ended: %v\n%s", s.err, s.logTail())
		default:
		}
		status, _ := s.tryGet("/health/ready")
		return status == http.StatusOK
	})
}

// kill ends the process as a power failure would.
func (s *server) kill() { s.end(syscall.SIGKILL) }

// stop ends the process as an operator would.
func (s *server) stop() { s.end(syscall.SIGTERM) }

func (s *server) end(sig syscall.Signal) {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		s.t.Errorf("the broker did not end on %v", sig)
	}
	s.cmd = nil
}

func (s *server) logPath() string { return filepath.Join(s.home, "broker.log") }

func (s *server) log() string {
	b, err := os.ReadFile(s.logPath())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (s *server) logTail() string {
	log := s.log()
	return log[max(0, len(log)-8000):]
}

// caddy runs a caddy subcommand in the broker's environment.
func (s *server) caddy(args ...string) (stdout string, code int) {
	s.t.Helper()
	cmd := exec.Command(caddyBin, args...)
	cmd.Dir, cmd.Env = s.home, s.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("caddy %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (s *server) sqlitePath() string {
	return filepath.Join(s.home, "data", "caddy", "claudemesh", "claudemesh.db")
}

func (s *server) url(path string) string {
	return "http://127.0.0.1:" + strconv.Itoa(s.port) + path
}

func (s *server) wsURL() string { return "ws://127.0.0.1:" + strconv.Itoa(s.port) + "/ws" }

var httpClient = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// tryGet returns the status of a GET, 0 when there is no answer.
func (s *server) tryGet(path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(path), nil)
	if err != nil {
		return 0, err.Error()
	}
	res, err := httpClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// do sends a request with a body and returns the status and the answer.
func (s *server) do(t testing.TB, method, path, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.url(path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	res, err := httpClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// post sends JSON and returns the status and the answer's object.
func (s *server) post(t testing.TB, path string, body any) (int, frame) {
	t.Helper()
	status, text := s.do(t, http.MethodPost, path, toJSON(t, body), "Content-Type", "application/json")
	answer := frame{}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatalf("POST %s: %d %q is no JSON object", path, status, text)
	}
	return status, answer
}

func toJSON(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// eventually waits until ok returns true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(poll)
	}
}
