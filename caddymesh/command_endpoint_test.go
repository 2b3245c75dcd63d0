package caddymesh

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestEndpoints reads addresses of admin endpoints, and says what is wrong with others.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, network, path, host, problem string }{
		{text: "localhost:2019", network: "tcp", path: "localhost:2019", host: "localhost:2019"},
		{text: "tcp/[::1]:2019", network: "tcp", path: "[::1]:2019", host: "[::1]:2019"},
		{text: "unix//run/caddy/admin.sock|0200", network: "unix", path: "/run/caddy/admin.sock", host: "127.0.0.1"},
		{text: "unix/caddy-admin.sock", network: "unix", path: "caddy-admin.sock", host: "127.0.0.1"},
		{text: "http://localhost:2019", problem: "give it without http://, such as localhost:2019"},
		{text: "http://localhost:2019/claudemesh/", problem: "such as localhost:2019"},
		{text: "https://admin.example.com", problem: "without https://, such as admin.example.com:2019"},
		{text: "http://[::1]", problem: "such as [::1]:2019"},
		{text: "unix:///run/admin.sock", problem: "without unix://, such as unix//run/admin.sock"},
		{text: "http://%zz", problem: "give it without http://"},
		{text: "http://", problem: "give it without http://, such as localhost:2019"},
		{text: "/run/admin.sock", problem: "write a socket as unix//run/admin.sock"},
		{text: "./admin.sock", problem: "write a socket as unix/./admin.sock"},
		{text: "unix/", problem: "the path of the socket is missing"},
		{text: "unix/|0200", problem: "the path of the socket is missing"},
		{text: "", problem: "it is empty"},
		{text: "localhost", problem: "the port is missing: give host:port, such as localhost:2019"},
		{text: "localhost:", problem: "the port is missing: give host:port, such as localhost:2019"},
		{text: "::1", problem: "the port is missing: give host:port, such as [::1]:2019"},
		{text: "2019", problem: "the port is missing: give host:port, such as localhost:2019"},
		{text: "localhost:admin", problem: "give host:port, such as localhost:2019"},
		{text: "localhost:99999", problem: "give host:port, such as localhost:2019"},
		{text: "localhost:1-5", problem: "give one port"},
		{text: "udp/localhost:2019", problem: `can't be reached over "udp"`},
		{text: "fd/3", problem: `can't be reached over "fd"`},
		{text: "ftp/localhost:2019", problem: `can't be reached over "ftp"`},
		{text: "a:b:c:d", problem: "give host:port"},
	} {
		e, err := parseEndpoint(test.text)
		if test.problem != "" {
			if err == nil || !strings.Contains(err.Error(), test.problem) {
				t.Errorf("%q: got %+v, %v; want %s", test.text, e, err, test.problem)
			}
			continue
		}
		if want := (endpoint{test.text, test.network, test.path, test.host}); err != nil || e != want {
			t.Errorf("%q: got %+v, %v", test.text, e, err)
		}
	}
}

// TestAskAgain checks that a command asks again when Caddy closes a connection before it answers, as
// it does while it loads a config, and that it doesn't repeat an order.
func TestAskAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	hasty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write([]byte(`[{"storage":"SQLite database /mesh.db","ready":true}]`))
	}))
	defer hasty.Close()
	address := hasty.Listener.Addr().String()
	if out, err := command(t, "health", "--address", address); err != nil || !strings.Contains(out, "/mesh.db") {
		t.Errorf("got %q and %v", out, err)
	}
	asked.Store(0)
	if _, err := command(t, "kick", "team", "bob", "--address", address); err == nil || asked.Load() != 1 {
		t.Errorf("a kick was sent %d times, with the error %v", asked.Load(), err)
	}
}

// TestAddresses gives every command that has the flag an address of another form, and the address
// of a server that is not Caddy's admin endpoint.
func TestAddresses(t *testing.T) {
	t.Chdir(t.TempDir())
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer page.Close()
	public := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"ok":false,"error":"not found"}`))
	}))
	defer public.Close()
	closed := "127.0.0.1:" + closedPort(t)
	socket := "unix/" + filepath.Join(t.TempDir(), "no.sock")
	more := map[string][]string{"kick": {"m", "bob"}, "remove": {"m", "bob"}, "mesh": {"m"}, "sessions": {"m"}, "members": {"m"}, "queue": {"m"}}
	eachCommand(t, "address", func(name string) {
		run := func(address string, wants ...string) {
			t.Helper()
			_, err := command(t, append(append(strings.Fields(name), more[name]...), "--address", address)...)
			for _, want := range wants {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s --address %q: got %v, want %s", name, address, err, want)
				}
			}
		}
		run("http://localhost:2019", `"http://localhost:2019" for "--address"`, "give it without http://, such as localhost:2019")
		run("", `"--address"`, "it is empty")
		if name == "page" { // it asks nothing before a browser does
			return
		}
		run(closed, "ask the broker at "+closed, "(connection refused)", "--address")
		run(socket, "ask the broker at "+socket, "(no such file or directory)")
		run(other.Listener.Addr().String(), "HTTP status 404", "--address")
		run(public.Listener.Addr().String(), "HTTP status 404", "not the admin endpoint")
		run(page.Listener.Addr().String(), "something other than Caddy's admin endpoint", "--address")
	})
	if err := os.WriteFile("Caddyfile", []byte("{\nadmin unix/\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := command(t, "status"); err == nil || !strings.Contains(err.Error(), `the config has the admin endpoint "unix/"`) {
		t.Errorf("an address in the config: %v", err)
	}
}
