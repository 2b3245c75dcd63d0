package pgtest

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// Dir returns a directory that belongs to the server's user, for the duration of the test.
func (s *Server) Dir() string { return s.cluster.dir }

// Run runs a shell script as the server's user. psql and the other programs of Postgres find
// the server by themselves. Each command must succeed.
func (s *Server) Run(script string) string {
	s.t.Helper()
	c := s.cluster
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = c.dir
	cmd.Env = []string{"PATH=" + c.bin + ":/usr/bin:/bin", "HOME=" + c.dir, "PGHOST=127.0.0.1", "PGPORT=" + strconv.Itoa(c.port), "PGUSER=postgres", "PGDATABASE=postgres"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.credential}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Switch starts the stopped server with another data directory, and waits until it answers.
func (s *Server) Switch(data string) {
	s.t.Helper()
	s.cluster.data = data
	s.check(s.cluster.start())
}
