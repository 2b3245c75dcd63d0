package tests

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// proxied is a proxy configuration in front of a broker.
type proxied struct {
	name string
	// start starts a proxy on a port that forwards requests below /mesh to the broker.
	start func(t *testing.T, s *server, port int)
	// tells says whether the broker can detect the proxy.
	tells bool
}

// TestBehindProxies runs a broker behind the proxies that operators use, below a path.
// Links, the invite page, the WebSocket and hooks must work.
func TestBehindProxies(t *testing.T) {
	t.Parallel()
	for _, p := range []proxied{
		{"nginx", nginx(""), false},
		{"nginx with headers", nginx("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"), true},
		{"nginx of a CDN", nginx("proxy_set_header CF-Connecting-IP $remote_addr;"), true},
		{"nginx of docs/operating.md", nginxOfThePage, true},
		{"Caddy of docs/operating.md", caddyOfThePage, true},
		{"Caddy without headers", caddyProxy("header_up -X-Forwarded-*\nheader_up -Via\nheader_up Host {upstream_hostport}"), false},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			port := freePort(t)
			p.start(t, s, port)
			site := fmt.Sprintf("127.0.0.1:%d/mesh", port)
			await.Until(t, "the proxy leads to the broker", func() bool { return get(t, "http://"+site+"/health/ready") == 200 })

			out, _, code := newPerson(t, s).run("create", "probe", "--broker", "ws://"+site+"/ws")
			if refused := code != 0; refused != p.tells {
				t.Errorf("creating a mesh through the proxy: exit %d, %s", code, out)
			}
			alice, bob := newPerson(t, s, "CLAUDEMESH_BROKER_URL=ws://"+site+"/ws"), newPerson(t, s)
			alice.must("create", "team", "--broker", s.WSURL())
			viaProxy(t, alice, s.WSURL(), "ws://"+site+"/ws")
			link := alice.invite()
			if !strings.HasPrefix(link, "http://"+site+"/i/") {
				t.Fatalf("the invite is %s", link)
			}
			page, _, _ := strings.Cut(link, "#")
			if status := get(t, page); status != 200 {
				t.Errorf("the page of the invite: %d", status)
			}
			if status := get(t, "http://"+site+"/nothing"); status != 404 {
				t.Errorf("a path that the broker does not have: %d", status)
			}
			bob.must("join", link, "--name", "bob")
			inbox := bob.start("inbox", "--follow")
			await.Until(t, "bob is there", func() bool { return strings.Contains(alice.must("peers"), "bob") })
			alice.must("send", "bob", "through the proxy")
			if line := inbox.line(); !strings.HasSuffix(line, ": through the proxy") {
				t.Errorf("bob's terminal shows %q", line)
			}
			inbox.stop()
			hook, err := harness.HTTPClient.Post("http://"+site+"/hook/set-status", "application/json",
				strings.NewReader(`{"cwd":"/","pid":1,"status":"idle","session_id":"x"}`))
			if err != nil {
				t.Fatal(err)
			}
			hook.Body.Close()
			if hook.StatusCode != 200 {
				t.Errorf("a hook: %d", hook.StatusCode)
			}
		})
	}
}

// viaProxy changes the broker URL in a person's config.
func viaProxy(t *testing.T, p *person, from, to string) {
	t.Helper()
	file := filepath.Join(p.dir, "config.json")
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(config), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := harness.HTTPClient.Do(r)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

func nginx(directives string) func(*testing.T, *server, int) {
	return func(t *testing.T, s *server, port int) {
		startNginx(t, `map $http_upgrade $upgrading { default upgrade; "" ""; }`, fmt.Sprintf(`location /mesh/ {
	proxy_pass http://127.0.0.1:%d/;
	proxy_http_version 1.1;
	proxy_set_header Upgrade $http_upgrade;
	proxy_set_header Connection $upgrading;
	%s
}`, s.Port, directives), port)
	}
}

func startNginx(t *testing.T, upgrading, location string, port int) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx"
	}
	dir := t.TempDir()
	config := fmt.Sprintf(`daemon off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	%[2]s
	server {
		listen 127.0.0.1:%[3]d;
		%[4]s
	}
}
`, dir, upgrading, port, location)
	if os.Geteuid() == 0 {
		config = "user root;\n" + config
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command(program, "-e", "stderr", "-p", dir, "-c", file), os.Interrupt)
}

// nginxOfThePage starts nginx as docs/operating.md describes it.
func nginxOfThePage(t *testing.T, s *server, port int) {
	block := strings.Replace(takeBlock(t, "docs/operating.md", "map "), "127.0.0.1:7900", fmt.Sprintf("127.0.0.1:%d", s.Port), 1)
	upgrading, location, ok := strings.Cut(block, "\n")
	if !ok || !strings.HasPrefix(location, "location ") {
		t.Fatalf("docs/operating.md describes nginx like this:\n%s", block)
	}
	startNginx(t, upgrading, location, port)
}

// caddyOfThePage starts Caddy as docs/operating.md describes it.
func caddyOfThePage(t *testing.T, s *server, port int) {
	block := takeBlock(t, "docs/operating.md", "example.com {\n\thandle_path ")
	startCaddy(t, strings.NewReplacer("example.com", fmt.Sprintf("http://127.0.0.1:%d", port), "127.0.0.1:7900", fmt.Sprintf("127.0.0.1:%d", s.Port)).Replace(block))
}

func caddyProxy(options string) func(*testing.T, *server, int) {
	return func(t *testing.T, s *server, port int) {
		startCaddy(t, fmt.Sprintf("http://127.0.0.1:%d {\n\thandle_path /mesh/* {\n\t\treverse_proxy 127.0.0.1:%d {\n%s\n}\n\t}\n}\n", port, s.Port, options))
	}
}

func startCaddy(t *testing.T, site string) {
	t.Helper()
	dir := shortTempDir(t)
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\tadmin off\n}\n"+site), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(commands.Caddy, "run", "--config", file)
	cmd.Env = homeEnv(dir)
	run(t, cmd, os.Interrupt)
}

// run runs a command until the end of the test.
func run(t *testing.T, cmd *exec.Cmd, end os.Signal) {
	t.Helper()
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(end)
		_ = cmd.Wait() // the exit status doesn't matter
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, log.String())
		}
	})
}
