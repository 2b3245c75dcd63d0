package caddymesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/claudemesh/claudemesh/broker"
)

// provision loads a handler from JSON without starting anything.
func provision(t *testing.T, config string) (*Handler, error) {
	t.Helper()
	base, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("http.handlers.claudemesh", json.RawMessage(config))
	if err != nil {
		return nil, err
	}
	return module.(*Handler), nil
}

func TestDefaults(t *testing.T) {
	t.Setenv("DATABASE_URL", "")
	h, err := provision(t, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	if h.CreateMeshes != createLoopback {
		t.Errorf("got create_meshes %s", h.CreateMeshes)
	}
	if got := h.settings(); got != broker.DefaultSettings() {
		t.Errorf("got settings %+v", got)
	}
}

// TestEveryLimit sets each option in JSON to a distinct value and checks the broker's
// settings. Then it sets each option to a value out of range and checks that the error names
// the option.
func TestEveryLimit(t *testing.T) {
	var unused Limits
	settings := broker.DefaultSettings()
	for _, o := range options(&unused, &settings) {
		t.Run(o.name, func(t *testing.T) {
			value := int64(61e9) // 61 seconds is in most ranges
			switch {
			case o.name == "max_queue_bytes_per_mesh":
				value = 2 << 20
			case !o.period:
				value = 2222
			case o.name == "audit_retention":
				value = 90_000e9
			case o.name == "hello_timeout":
				value = 7e9
			case o.name == "ping_interval":
				value = 22e9
			case o.name == "pong_timeout":
				value = 99e9
			}
			h, err := provision(t, fmt.Sprintf(`{%q:%d}`, o.name, value))
			if err != nil {
				t.Fatal(err)
			}
			got := h.settings()
			var into Limits
			for _, set := range options(&into, &got) {
				is := set.inEffect.get()
				if (set.name == o.name) != (is == value) {
					t.Errorf("%s is %d after setting %s to %d", set.name, is, o.name, value)
				}
			}

			for _, bad := range []string{"-1", "9000000000000000000"} {
				_, err := provision(t, fmt.Sprintf(`{%q:%s}`, o.name, bad))
				var wrong *broker.SettingError
				if !errors.As(err, &wrong) && (err == nil || !strings.Contains(err.Error(), o.name+" is ")) {
					t.Errorf("%s: %v, want an error that names the option", bad, err)
				} else if !strings.Contains(err.Error(), "allowed: ") {
					t.Errorf("%s: %v, want the allowed range", bad, err)
				}
			}
		})
	}
}

// TestSpaceAroundValues checks that the broker removes a line end after a secret in a variable.
func TestSpaceAroundValues(t *testing.T) {
	t.Setenv("CLAUDEMESH_TEST_DSN", "postgres://mesh@db/mesh\n")
	if text, err := expand("storage postgres: dsn", " {env.CLAUDEMESH_TEST_DSN}"); text != "postgres://mesh@db/mesh" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestRefusedConfigs(t *testing.T) {
	t.Setenv("CLAUDEMESH_TEST_DSN", "host=db port=x password=hunter2")
	tests := []struct{ name, config, want string }{
		{"unknown field", `{"sendburst":1}`, "sendburst"},
		{"create_meshes", `{"create_meshes":"everybody"}`, `create_meshes is "everybody"; allowed: open, loopback, token, off`},
		{"no token", `{"create_meshes":"token","create_token":"{env.CLAUDEMESH_NO_SUCH}"}`, "create_meshes token: evaluated placeholder {env.CLAUDEMESH_NO_SUCH} is empty; set the environment variable"},
		{"blank token", `{"create_meshes":"token","create_token":" \t"}`, "create_meshes token: the value is blank"},
		{"token without use", `{"create_meshes":"open","create_token":"x"}`, "create_token has no effect"},
		{"public_url without scheme", `{"public_url":"mesh.example.com"}`, `public_url is "mesh.example.com"; allowed: http`},
		{"public_url with query", `{"public_url":"https://mesh.example.com/?a"}`, "public_url is "},
		{"public_url with fragment", `{"public_url":"https://mesh.example.com/#"}`, "public_url is "},
		{"cluster with SQLite", `{"storage":{"module":"sqlite"},"cluster":{"advertise":"10.0.0.1"}}`, "add `storage postgres {env.DATABASE_URL}`"},
		{"cluster without an address", `{"storage":{"module":"postgres","dsn":"host=db"},"cluster":{}}`, "add `advertise <address>`"},
		{"cluster at every address", `{"storage":{"module":"postgres","dsn":"host=db"},"cluster":{"advertise":"0.0.0.0:7901"}}`, "add `advertise <address>`"},
		{"cluster without a port", `{"storage":{"module":"postgres","dsn":"host=db"},"cluster":{"advertise":"10.0.0.1:0"}}`, `advertise is "10.0.0.1:0"; allowed: `},
		{"cluster at a network", `{"storage":{"module":"postgres","dsn":"host=db"},"cluster":{"advertise":"10.0.0.1/24"}}`, `advertise is "10.0.0.1/24"; allowed: `},
		{"cluster at Caddy's form of an address", `{"storage":{"module":"postgres","dsn":"host=db"},"cluster":{"advertise":"tcp/10.0.0.1:7901"}}`, `advertise is "tcp/10.0.0.1:7901"; allowed: `},
		{"cluster at a socket", `{"storage":{"module":"postgres","dsn":"host=db"},"cluster":{"listen":"unix//run/x","advertise":"10.0.0.1:1"}}`, `listen is "unix//run/x"; allowed: `},
		{"unknown storage", `{"storage":{"module":"mysql"}}`, "mysql"},
		{"storage option", `{"storage":{"module":"sqlite","file":"x"}}`, "file"},
		{"empty dsn", `{"storage":{"module":"postgres","dsn":"{env.CLAUDEMESH_NO_SUCH}"}}`, "dsn"},
		{"bad dsn", `{"storage":{"module":"postgres","dsn":"{env.CLAUDEMESH_TEST_DSN}"}}`, "dsn is malformed; allowed: postgres://"},
		{"password with an @", `{"storage":{"module":"postgres","dsn":"postgres://mesh:p@hunter2@db/mesh"}}`, "dsn is malformed; allowed: postgres://"},
		{"password with an @ and a /", `{"storage":{"module":"postgres","dsn":"postgres://mesh:p@w/hunter2@db/mesh"}}`, "@ as %40 and / as %2F"},
		{"password with a port and a /", `{"storage":{"module":"postgres","dsn":"postgres://mesh:12/hunter2@db/mesh"}}`, "dsn is malformed; allowed: postgres://"},
		{"unset path", `{"storage":{"module":"sqlite","path":"{env.CLAUDEMESH_NO_SUCH}"}}`, "path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := provision(t, test.config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret in the error: %v", err)
			}
		})
	}
}

func TestPublicURL(t *testing.T) {
	t.Setenv("CLAUDEMESH_TEST_URL", "https://mesh.example.com/base/")
	h, err := provision(t, `{"public_url":"{env.CLAUDEMESH_TEST_URL}"}`)
	if err != nil {
		t.Fatal(err)
	}
	if h.publicURL != "https://mesh.example.com/base" {
		t.Errorf("got public URL %q", h.publicURL)
	}
}

func TestStorageChoice(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	secret := filepath.Join(dir, "dsn")
	if err := os.WriteFile(secret, []byte("postgres://mesh:hunter2@files:5433/fromfile"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, databaseURL, config, want string }{
		{"nothing set", "", ``, "SQLite database " + filepath.Join(caddy.AppDataDir(), "claudemesh", "claudemesh.db")},
		{"DATABASE_URL", "postgres://mesh:hunter2@db/mesh", ``, "Postgres database mesh at db:5432"},
		{"sqlite despite DATABASE_URL", "postgres://mesh:hunter2@db/mesh", `{"module":"sqlite","path":"/x/y.db"}`, "SQLite database /x/y.db"},
		{"postgres by default from the environment", "postgres://mesh:hunter2@db/mesh", `{"module":"postgres"}`, "Postgres database mesh at db:5432"},
		{"from a file", "", `{"module":"postgres","dsn":"{file.` + secret + `}"}`, "Postgres database fromfile at files:5433"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("DATABASE_URL", test.databaseURL)
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			var raw json.RawMessage
			if test.config != "" {
				raw = json.RawMessage(test.config)
			}
			storage, err := loadStorage(ctx, raw)
			if err != nil {
				t.Fatal(err)
			}
			if got := storage.String(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// TestDataDirectoryIsKnown checks that the database does not default to the current
// directory, which would be a different database for each directory.
func TestDataDirectoryIsKnown(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_DATA_HOME", "")
	var s SQLite
	if err := s.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), "HOME") {
		t.Errorf("got error %v and path %q", err, s.Path)
	}
	s = SQLite{Path: "/var/lib/mesh.db"}
	if err := s.Provision(caddy.Context{}); err != nil || s.Path != "/var/lib/mesh.db" {
		t.Errorf("got error %v and path %q", err, s.Path)
	}
}

func TestWarningOfNetworkFS(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	warnOfNetworkFS(zap.New(core), "/srv/claudemesh.db", "")
	if logs.Len() != 0 {
		t.Errorf("on a local disk: %+v", logs.All())
	}
	warnOfNetworkFS(zap.New(core), "/srv/claudemesh.db", "NFS")
	if all := logs.TakeAll(); len(all) != 1 || !strings.Contains(all[0].Message, "or use Postgres") || all[0].ContextMap()["file_system"] != "NFS" {
		t.Errorf("on NFS: %+v", all)
	}
}
