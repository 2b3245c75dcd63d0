package operator

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"
	modzip "golang.org/x/mod/zip"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

const (
	ourModule = "github.com/claudemesh/claudemesh"
	published = "v0.0.1-test" // the version under which a test publishes the checkout
)

// aliens are well-known modules of other authors, with the version to build, and a Caddy module in each.
var aliens = map[string]string{
	"github.com/mholt/caddy-l4@v0.1.2":        "layer4.handlers.proxy",
	"github.com/mholt/caddy-ratelimit@v0.1.0": "http.handlers.rate_limit",
}

// TestXcaddyCheckout builds the broker from a checkout, as xcaddy.mk does.
func TestXcaddyCheckout(t *testing.T) {
	if os.Getenv("CLAUDEMESH_TEST_LONG") == "" {
		t.Skip("CLAUDEMESH_TEST_LONG is not set; the build of the same sources without a network is tested always")
	}
	checkout := sources(t, t.TempDir())
	out := makeXcaddy(t, checkout, "list")
	if !strings.Contains(out, "\nhttp.handlers.claudemesh\n") {
		t.Fatalf("the module is not listed:\n%s", out)
	}
	serves(t, filepath.Join(checkout, "bin", "caddy"))
}

// makeXcaddy makes a target of xcaddy.mk. No module proxy has our module.
func makeXcaddy(t *testing.T, checkout, target string) string {
	t.Helper()
	cmd := exec.Command("make", "-f", "xcaddy.mk", target)
	cmd.Dir, cmd.Env = checkout, goEnv(t, startProxy(t, t.TempDir()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make -f xcaddy.mk %s: %v\n%s", target, err, out)
	}
	return string(out)
}

// TestXcaddyPublished builds the broker without a checkout, together with modules of
// other authors. A module proxy has the checkout as a tagged version.
func TestXcaddyPublished(t *testing.T) {
	checkout := sources(t, t.TempDir())
	makeXcaddy(t, checkout, "bin/xcaddy")
	xcaddy := filepath.Join(checkout, "bin", "xcaddy")
	built := filepath.Join(t.TempDir(), "caddy")
	cmd := exec.Command(xcaddy, "build", caddyVersion(t, checkout), "--with", ourModule+"/caddymesh@"+published, "--output", built)
	want := []string{"http.handlers.claudemesh " + published, "claudemesh.storage.postgres " + published}
	for with, module := range aliens {
		cmd.Args = append(cmd.Args, "--with", with)
		want = append(want, module+" ")
	}
	cmd.Dir, cmd.Env = t.TempDir(), goEnv(t, startProxy(t, publish(t, checkout)))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	modules, err := exec.Command(built, "list-modules", "--versions").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range want {
		if !strings.Contains(string(modules), "\n"+module) {
			t.Errorf("%s is not among the modules:\n%s", module, modules)
		}
	}
	serves(t, built)
}

// serves starts a Caddy with the shipped Caddyfile and creates a mesh on it.
func serves(t *testing.T, caddy string) {
	t.Helper()
	with := commands
	with.Caddy = caddy
	b := harness.NewBroker(t, with)
	b.Start()
	newMesh(t, b)
	b.Stop()
}

// sources copies the files that a commit of the checkout would contain into dir, and returns dir.
func sources(t *testing.T, dir string) string {
	t.Helper()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = commands.Repo
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		from, to := filepath.Join(commands.Repo, name), filepath.Join(dir, name)
		info, err := os.Stat(from)
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// startProxy starts a module proxy and returns its URL. It serves our module from dir, and other
// modules from this machine's module cache or else from the environment's proxy.
func startProxy(t *testing.T, dir string) string {
	t.Helper()
	first, _, _ := strings.Cut(goSetting(t, "GOPROXY"), ",")
	upstream, err := url.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	cached := filepath.Join(goSetting(t, "GOMODCACHE"), "cache", "download")
	ours, theirs := http.FileServer(http.Dir(dir)), http.FileServer(http.Dir(cached))
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, err := os.Stat(filepath.Join(cached, filepath.FromSlash(r.URL.Path)))
		switch {
		case strings.HasPrefix(r.URL.Path, "/"+ourModule):
			ours.ServeHTTP(w, r)
		case err == nil && file.Mode().IsRegular() && filepath.Base(r.URL.Path) != "list": // the cached list may be old
			theirs.ServeHTTP(w, r)
		default:
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// publish writes the files of a module proxy whose only version of our module is the sources in
// dir. It returns their directory.
func publish(t *testing.T, dir string) string {
	t.Helper()
	proxy := t.TempDir()
	at := filepath.Join(proxy, ourModule, "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	archive, err := os.Create(filepath.Join(at, published+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	if err := modzip.CreateFromDir(archive, module.Version{Path: ourModule, Version: published}, dir); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := json.Marshal(map[string]any{"Version": published, "Time": time.Now().UTC()})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"list": []byte(published + "\n"), published + ".mod": mod, published + ".info": info} {
		if err := os.WriteFile(filepath.Join(at, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return proxy
}

// caddyVersion returns the version of Caddy in go.mod.
func caddyVersion(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// goEnv returns the environment of somebody who has Go, but nothing of ours yet. No checksum
// database has the modules of the test's proxy.
func goEnv(t *testing.T, proxy string) []string {
	t.Helper()
	return append(harness.HomeEnv(t.TempDir()), "GOPROXY="+proxy, "GOSUMDB=off", "GOFLAGS=-modcacherw",
		"GOMODCACHE="+filepath.Join(t.TempDir(), "mod"), "GOCACHE="+goSetting(t, "GOCACHE"), "GOTOOLCHAIN="+goSetting(t, "GOTOOLCHAIN"))
}

func goSetting(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
