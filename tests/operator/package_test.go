package operator

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
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
// ready under all the restrictions of its unit, reloads, comes back after a crash, and stops when the package goes.
func TestService(t *testing.T) {
	long(t)
	requireRoot(t, "dpkg", "ip", "setpriv", "/usr/lib/systemd/systemd", "systemd-run", "dbus-daemon")
	dir := releaseOnce(t)
	private(t, "service.sh", t.TempDir(), filepath.Join(dir, fmt.Sprintf("claudemesh-broker_%s_%s.deb", release, runtime.GOARCH)))
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
