package caddymesh

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddytest"
)

var update = flag.Bool("update", false, "update the golden files and the pages in docs/")

const separator = "----------\n"

// TestAdapt adapts the upper half of each testdata/*.caddyfiletest and compares the result
// with the lower half: JSON, or "error: " and the adapter's message.
func TestAdapt(t *testing.T) {
	t.Setenv("DATABASE_URL", "postgres://mesh:hunter2@db/mesh")
	t.Setenv("CLAUDEMESH_CREATE_TOKEN", "hunter2")

	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %d golden files, error %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in, want, _ := strings.Cut(string(content), separator)
			if *update {
				if err := os.WriteFile(file, []byte(in+separator+adapted(in)), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if strings.Contains(want, "hunter2") {
				t.Errorf("the golden file holds a secret")
			}
			if message, ok := strings.CutPrefix(want, "error: "); ok {
				if got := adapted(in); got != want {
					t.Errorf("adapted to\n%s\nwant the error\n%s", got, message)
				}
				return
			}
			if !caddytest.CompareAdapt(t, file, in, "caddyfile", strings.TrimSuffix(want, "\n")) {
				t.Errorf("the adapted Caddyfile differs from the golden file")
			}
		})
	}
}

// adapted returns the lower half of a golden file.
func adapted(in string) string {
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(in), nil)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, out, "", "\t"); err != nil {
		return "error: " + err.Error() + "\n"
	}
	return pretty.String() + "\n"
}

// TestShippedCaddyfile adapts the repository's Caddyfile with various environments.
func TestShippedCaddyfile(t *testing.T) {
	shipped, err := os.ReadFile("../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		env  map[string]string
		has  []string
	}{
		{"defaults", nil, []string{
			`"127.0.0.1:7900"`, `"create_meshes": "loopback"`, `"status_ttl": 60000000000`,
			`"hook_fresh_window": 30000000000`, `"message_retention": 604800000000000`, `"max_message_bytes": 65536`,
		}},
		{"port", map[string]string{"BROKER_PORT": "7999"}, []string{`"127.0.0.1:7999"`}},
		{"host name", map[string]string{"CLAUDEMESH_SITE": "mesh.example.com"},
			[]string{`":443"`, `"mesh.example.com"`, `"127.0.0.1:7900"`}},
		{"own authority", map[string]string{"CLAUDEMESH_SITE": "https://localhost:8443"}, []string{`":8443"`}},
		{"limits", map[string]string{
			"MAX_MESSAGE_BYTES": "2048", "SEND_RATE_PER_MIN": "7", "SEND_BURST": "8",
			"WORK_PER_MIN": "90000", "WORK_BURST": "9000", "NEW_SESSIONS_PER_HOUR": "90",
			"MAX_CONNECTIONS_PER_MESH": "9", "MAX_MEMBERS_PER_MESH": "19", "MAX_QUEUE_BYTES_PER_MESH": "2000000", "HOOK_RATE_LIMIT_PER_MIN": "11", "STATUS_TTL_SECONDS": "12",
			"HOOK_FRESH_WINDOW_SECONDS": "13", "PRESENCE_LEASE_SECONDS": "14", "DELIVERY_LEASE_SECONDS": "15",
			"MESSAGE_RETENTION_DAYS": "2", "AUDIT_RETENTION_DAYS": "3", "HELLO_TIMEOUT_SECONDS": "16", "PING_INTERVAL_SECONDS": "17",
			"PONG_TIMEOUT_SECONDS": "18", "CREATE_MESHES": "off",
		}, []string{
			`"max_message_bytes": 2048`, `"send_rate_per_min": 7`, `"send_burst": 8`,
			`"work_per_min": 90000`, `"work_burst": 9000`, `"new_sessions_per_hour": 90`,
			`"max_connections_per_mesh": 9`, `"max_members_per_mesh": 19`, `"max_queue_bytes_per_mesh": 2000000`, `"hook_rate_limit_per_min": 11`, `"status_ttl": 12000000000`,
			`"hook_fresh_window": 13000000000`, `"presence_lease": 14000000000`, `"delivery_lease": 15000000000`,
			`"message_retention": 172800000000000`, `"audit_retention": 259200000000000`, `"hello_timeout": 16000000000`, `"ping_interval": 17000000000`,
			`"pong_timeout": 18000000000`, `"create_meshes": "off"`,
		}},
		{"secrets", map[string]string{
			"DATABASE_URL": "postgres://mesh:hunter2@db/mesh", "CREATE_MESHES": "token", "CLAUDEMESH_CREATE_TOKEN": "hunter2",
		}, []string{`"create_meshes": "token"`}},
		{"zero", map[string]string{"STATUS_TTL_SECONDS": "0"}, []string{"error: ", "status_ttl is 0s; allowed: 1s to 24h"}},
		{"no number", map[string]string{"SEND_BURST": "abc"}, []string{"error: ", "send_burst is abc; allowed: 1 to"}},
		{"negative", map[string]string{"MAX_MESSAGE_BYTES": "-1"}, []string{"error: ", "max_message_bytes is -1; allowed: 1024 to"}},
		{"exponent", map[string]string{"PRESENCE_LEASE_SECONDS": "1e9"}, []string{"error: ", "presence_lease is 1e9s; allowed: 1s to"}},
		{"huge", map[string]string{"DELIVERY_LEASE_SECONDS": "1000000000"}, []string{"error: ", "delivery_lease is ", "; allowed: 1s to"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			got := adapted(string(shipped))
			for _, part := range test.has {
				if !strings.Contains(got, part) {
					t.Errorf("no %s in\n%s", part, got)
				}
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret in\n%s", got)
			}
		})
	}
}
