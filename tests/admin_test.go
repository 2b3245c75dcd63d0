package tests

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/pgtest"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// adminGet returns what the admin endpoint at a Unix socket answers, or the error.
func adminGet(socket, path string) string {
	res, err := harness.AdminClient(socket).Get("http://localhost" + path)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestAdminSocket checks that only the owner of the process can use the admin socket of the
// shipped Caddyfile. The admin API says why the storage is unreachable; the public routes
// don't.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t)
	s := newServer(t, "DATABASE_URL="+pg.DSN())
	s.Env = slices.DeleteFunc(s.Env, func(v string) bool { return strings.HasPrefix(v, "CADDY_ADMIN=") })
	s.Start()
	socket := filepath.Join(s.Home, "caddy-admin.sock")
	info, err := os.Stat(socket)
	if err != nil || info.Mode() != os.ModeSocket|0o200 {
		t.Fatalf("the admin socket: %v, %v", info, err)
	}
	if out, code := s.RunCaddy("reload", "--config", s.Config, "--adapter", "caddyfile", "--force"); code != 0 {
		t.Fatalf("reload: exit %d\n%s", code, out)
	}

	ask := func() string { return adminGet(socket, "/claudemesh/health") }
	var text string
	await.Until(t, "the broker is healthy", func() bool { // a busy disk may be slow to answer
		text = ask()
		return strings.Contains(text, `"ready":true`)
	}, func() string { return text })
	pg.Stop()
	notReady(t, s, "storage_unreachable")
	if text := ask(); !strings.Contains(text, `"ready":false`) || !strings.Contains(text, "127.0.0.1") {
		t.Errorf("health for the operator: %s", text)
	}
	for _, args := range [][]string{
		{"mesh", strings.Repeat("a", 32)}, {"sessions", strings.Repeat("a", 32)}, {"members", strings.Repeat("a", 32)}, {"queue", strings.Repeat("a", 32)},
		{"kick", strings.Repeat("a", 32), "bob"}, {"remove", strings.Repeat("a", 32), "bob", "--yes"}, {"audit", "heads"}, {"health"},
	} {
		out, code := s.RunCaddy(append(append([]string{"claudemesh"}, args...), "--address", "unix/"+socket)...)
		if code == 0 || !strings.Contains(out, "Postgres database ") || !strings.Contains(out, "can't be reached") || strings.Contains(out, "failed to connect") || strings.Contains(out, "HTTP 5") {
			t.Errorf("%v: exit %d\n%s", args, code, out)
		}
	}
	if _, text := s.TryGet("/health/ready"); strings.Contains(text, "127.0.0.1") || strings.Contains(text, "postgres") {
		t.Errorf("health for everybody: %s", text)
	}
}
