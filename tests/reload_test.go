package tests

import (
	"slices"
	"strings"
	"testing"
)

// TestReload reloads Caddy's config with open sockets and messages in flight.
func TestReload(t *testing.T) {
	onBoth(t, nil, func(t *testing.T, s *server) {
		m := newTeam(t, s)
		bob, key := m.join(t, "bob"), newKeys()
		from, to := m.owner.daemon(t), bob.session(t, key)
		from.await("peer_joined", isEvent("peer_joined"))
		env := s.Env
		reload := func(settings ...string) (string, int) {
			s.Env = append(slices.Clone(env), settings...)
			return s.RunCaddy("reload", "--config", s.Config, "--adapter", "caddyfile")
		}
		from.send(key.hex, "sent before")
		if out, code := reload("MAX_MESSAGE_BYTES=2048"); code != 0 {
			t.Fatalf("reload: %s", out)
		}
		if got := text(to.message()); got != "sent before" {
			t.Errorf("got %q", got)
		}
		from.send(key.hex, "sent after")
		if got := text(to.message()); got != "sent after" {
			t.Errorf("got %q", got)
		}
		if e := from.refused(draft(key.hex, strings.Repeat("x", 3000))); !strings.HasPrefix(e, "payload_too_large") {
			t.Errorf("the new limit is not in effect: %q", e)
		}
		out, code := reload("SEND_BURST=0")
		if code == 0 || !strings.Contains(out, "send_burst") || !strings.Contains(out, "1 to ") {
			t.Errorf("a bad setting: %d %s", code, out)
		}
		from.none("news of a reload", isSystem)
		to.sync()
		m.join(t, "carol").daemon(t).sync()
	})
}

// TestBadSettings checks that the broker refuses to start with a bad value and names the
// setting.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{
		"MAX_MESSAGE_BYTES=12", "SEND_RATE_PER_MIN=0", "SEND_BURST=many", "MAX_CONNECTIONS_PER_MESH=-1", "HOOK_RATE_LIMIT_PER_MIN=0",
		"WORK_PER_MIN=0", "WORK_BURST=999", "NEW_SESSIONS_PER_HOUR=none",
		"STATUS_TTL_SECONDS=0", "HOOK_FRESH_WINDOW_SECONDS=x", "PRESENCE_LEASE_SECONDS=0", "DELIVERY_LEASE_SECONDS=-5", "CREATE_MESHES=anybody",
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, setting)
			out, code := s.RunCaddy("run", "--config", s.Config, "--adapter", "caddyfile")
			name, _, _ := strings.Cut(strings.ToLower(setting), "=")
			name = strings.TrimSuffix(name, "_seconds")
			if code == 0 || !strings.Contains(out, name) || !strings.Contains(out, "allowed: ") {
				t.Errorf("exit code %d, and:\n%s", code, out)
			}
		})
	}
}
