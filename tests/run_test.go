package tests

import (
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestRunSaysWhatIsTaken checks that make run fails at once and names the address if an
// address that it needs is in use.
func TestRunSaysWhatIsTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	_, port, _ := net.SplitHostPort(taken)
	free := strconv.Itoa(freePort(t))
	for _, tc := range []struct {
		name, want string
		env        []string
	}{
		{"port", "Port " + port, []string{"BROKER_PORT=" + port}},
		{"admin port", taken + " is in use", []string{"BROKER_PORT=" + free, "CADDY_ADMIN=" + taken}},
		{"admin port of a name", "localhost:" + port + " is in use", []string{"BROKER_PORT=" + free, "CADDY_ADMIN=tcp/localhost:" + port}},
		{"admin port alone", ":" + port + " is in use", []string{"BROKER_PORT=" + free, "CADDY_ADMIN=:" + port}},
	} {
		cmd := exec.Command(filepath.Join(commands.Repo, "scripts", "run"))
		cmd.Env = append(homeEnv(t.TempDir()), tc.env...)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), tc.want) || strings.Contains(string(out), `"level"`) {
			t.Errorf("%s: %v\n%s", tc.name, err, out)
		}
	}
}

// TestQuietStart checks that the shipped Caddyfile starts without warnings about protocols
// that it doesn't serve.
func TestQuietStart(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	if log := s.Log(); strings.Contains(log, "requires TLS") || !strings.Contains(log, "server running") {
		t.Errorf("the log:\n%s", log)
	}
}
