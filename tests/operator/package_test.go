package operator

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// TestUnitIsHardened asks systemd how exposed the service is.
func TestUnitIsHardened(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("this test needs systemd-analyze")
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", filepath.Join(commands.Repo, "deploy", "systemd", "claudemesh-broker.service")).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze: %v\n%s", err, out)
	}
	found := regexp.MustCompile(`Overall exposure level for claudemesh-broker.service: ([0-9.]+)`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("systemd-analyze reports no exposure level:\n%s", out)
	}
	if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level > 2 {
		t.Errorf("the exposure of the service is %s, want at most 2.0\n%s", found[1], out)
	}
}

// TestPackages installs, upgrades, removes and purges the Debian packages in a copy of this machine's root.
func TestPackages(t *testing.T) {
	requireRoot(t, "dpkg", "systemd-sysusers", "systemd-analyze", "deb-systemd-helper", "ip", "setpriv")
	dir := releaseOnce(t)
	deb := func(name string) string {
		return filepath.Join(dir, fmt.Sprintf("%s_%s_%s.deb", name, release, runtime.GOARCH))
	}
	private(t, "lifecycle.sh", t.TempDir(), deb("claudemesh"), deb("claudemesh-broker"), newer(t, deb("claudemesh-broker")))
}

// TestService boots systemd in a copy of this machine's root and installs the broker's package there: the service becomes
// ready under all the restrictions of its unit, starts anew after an upgrade, reloads, comes back after a crash, and stops when
// the package goes.
func TestService(t *testing.T) {
	long(t)
	requireRoot(t, "dpkg", "ip", "setpriv", "/usr/lib/systemd/systemd", "systemd-run", "dbus-daemon")
	dir := releaseOnce(t)
	deb := filepath.Join(dir, fmt.Sprintf("claudemesh-broker_%s_%s.deb", release, runtime.GOARCH))
	private(t, "service.sh", t.TempDir(), deb, newer(t, deb))
}

// TestInstallByHand runs the commands of docs/install.md for systemd without the package, in an empty root: the service's
// user exists, and the service starts with the next boot.
func TestInstallByHand(t *testing.T) {
	requireRoot(t, "systemd-sysusers", "systemctl")
	archive := unpack(t, filepath.Join(releaseOnce(t), "claudemesh-broker-"+release+"-linux-"+runtime.GOARCH+".tar.gz"))
	page, err := os.ReadFile(filepath.Join(commands.Repo, "docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := harness.Blocks(string(page))
	i := slices.IndexFunc(blocks, func(b harness.Block) bool { return strings.HasPrefix(b.Text, "install -D -m 0755 caddy ") })
	if i < 0 {
		t.Fatal("docs/install.md does not say how to install the broker by hand")
	}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc", "systemd", "system"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer(" /usr/", " "+root+"/usr/", " /etc/", " "+root+"/etc/", "systemd-sysusers ", "systemd-sysusers --root="+root+" ",
		"systemctl enable --now", "systemctl --root="+root+" enable").Replace(blocks[i].Text)
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = archive
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if users, err := os.ReadFile(filepath.Join(root, "etc", "passwd")); err != nil || !strings.Contains(string(users), "claudemesh:") {
		t.Errorf("the users are %q, %v", users, err)
	}
	if links, err := filepath.Glob(filepath.Join(root, "etc/systemd/system/*.wants/claudemesh-broker.service")); err != nil || len(links) != 1 {
		t.Errorf("the service is not enabled: %q, %v", links, err)
	}
	unit, err := os.ReadFile(filepath.Join(root, "etc", "systemd", "system", "claudemesh-broker.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/usr/lib/claudemesh/caddy", "/etc/claudemesh/Caddyfile", "/etc/claudemesh/environment"} {
		if _, err := os.Stat(root + path); err != nil || !strings.Contains(string(unit), path) {
			t.Errorf("the unit needs %s: %v", path, err)
		}
	}
}

// newer returns a package with a higher version and other config files.
func newer(t *testing.T, deb string) string {
	t.Helper()
	tree, result := filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "new.deb")
	if out, err := exec.Command("dpkg-deb", "-R", deb, tree).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -R: %v\n%s", err, out)
	}
	edit := func(name, old, change string) {
		path := filepath.Join(tree, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), old) {
			t.Fatalf("%s has no %q", name, old)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, change, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	edit("DEBIAN/control", "Version: "+release, "Version: 0.0.2")
	edit("etc/claudemesh/Caddyfile", "\n", "\n# new\n")
	edit("etc/claudemesh/environment", "\n", "\n# new\n")
	if out, err := exec.Command("dpkg-deb", "-Znone", "-b", tree, result).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb -b: %v\n%s", err, out)
	}
	return result
}

// TestContainer runs the broker in a root that the Containerfile describes, and, in its long form, in a container of Docker.
func TestContainer(t *testing.T) {
	requireRoot(t, "ip", "setpriv")
	dir := releaseOnce(t)
	context := unpack(t, filepath.Join(dir, "claudemesh-container-"+release+".tar.gz"))
	private(t, "container.sh", t.TempDir(), context, runtime.GOARCH)
	t.Run("docker", func(t *testing.T) {
		long(t)
		if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil || strings.Contains(string(out), "Cannot connect") {
			t.Skipf("this test needs a Docker daemon: %v", err)
		}
		if out, err := exec.Command(filepath.Join(commands.Repo, "scripts", "try-container"), dir).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestCompose checks that the compose file gives the container what the Containerfile and the Caddyfile expect: the
// directories that are written to, a read-only root, no capabilities, and variables that the Caddyfile reads.
func TestCompose(t *testing.T) {
	read := func(name ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{commands.Repo}, name...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var compose struct {
		Services map[string]struct {
			Build       string
			Environment map[string]string
			Volumes     []string
			ReadOnly    bool `yaml:"read_only"`
			Tmpfs       []string
			CapDrop     []string                              `yaml:"cap_drop"`
			SecurityOpt []string                              `yaml:"security_opt"`
			DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
			Healthcheck struct{ Test []string }
		}
	}
	if err := yaml.Unmarshal([]byte(read("deploy", "container", "compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	broker, containerfile, caddyfile := compose.Services["broker"], read("deploy", "container", "Containerfile"), read("Caddyfile")
	if broker.Build != "." || !broker.ReadOnly || !slices.Equal(broker.CapDrop, []string{"ALL"}) || !slices.Contains(broker.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("the broker's container: %+v", broker)
	}
	for name := range broker.Environment {
		if !strings.Contains(caddyfile, name) {
			t.Errorf("the Caddyfile does not know %s", name)
		}
	}
	user := regexp.MustCompile(`(?m)^USER (\d+):`).FindStringSubmatch(containerfile)
	writable := strings.Join(append(broker.Volumes, broker.Tmpfs...), "\n")
	for _, directory := range regexp.MustCompile(`(?m)^COPY --chown=\S+ empty/ (\S+)/$`).FindAllStringSubmatch(containerfile, -1) {
		if !strings.Contains(writable, directory[1]) {
			t.Errorf("nothing is mounted at %s", directory[1])
		}
	}
	for _, mount := range broker.Tmpfs {
		if user == nil || !strings.Contains(mount, "uid="+user[1]+",") {
			t.Errorf("%s does not belong to the user %v", mount, user)
		}
	}
	for name, on := range broker.DependsOn {
		if on.Condition != "service_healthy" || len(compose.Services[name].Healthcheck.Test) == 0 {
			t.Errorf("the broker does not wait until %s is healthy", name)
		}
	}
	if len(broker.Environment) < 4 || len(broker.DependsOn) != 1 {
		t.Errorf("the broker's container: %+v", broker)
	}
}
