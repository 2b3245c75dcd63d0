package operator

import (
	"archive/tar"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

const release = "0.0.1" // the version that the tests release

// long skips a test unless CLAUDEMESH_TEST_LONG is set.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("CLAUDEMESH_TEST_LONG") == "" {
		t.Skip("CLAUDEMESH_TEST_LONG is not set")
	}
}

// tagged returns a repository with one commit of the sources, which has the tag of the release.
func tagged(t *testing.T) string {
	t.Helper()
	repository := sources(t, t.TempDir())
	for _, args := range [][]string{
		{"init", "--quiet"}, {"add", "--all"}, {"commit", "--quiet", "--message", "A release"}, {"tag", "--annotate", "v" + release, "--message", "A release"},
	} {
		git(t, repository, args...)
	}
	return repository
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=alice", "-c", "user.email=alice@example.com", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// makeRelease makes a release of a clone of a repository, as dir, and returns the directory of what make release wrote.
func makeRelease(t *testing.T, repository, dir, targets string, env ...string) string {
	t.Helper()
	git(t, ".", "clone", "--quiet", repository, dir)
	cmd := exec.Command("bash", "-c", `umask "${UMASK:-022}" && exec make --no-print-directory release "$@"`, "bash", "TARGETS="+targets)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "MAKE") || name == "MFLAGS" || name == "SOURCE_DATE_EPOCH" || name == "VERSION"
	}), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make release: %v\n%s", err, out)
	}
	return filepath.Join(dir, "bin", "release")
}

// released is a release for Linux on the processor of this machine, which the tests share.
var released = struct {
	sync.Once
	dir string
}{}

func releaseOnce(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("releases are built on Linux")
	}
	released.Do(func() {
		released.dir = makeRelease(t, tagged(t), filepath.Join(shared, "clone"), "linux/"+runtime.GOARCH)
	})
	if released.dir == "" {
		t.Fatal("there is no release: see the test that failed first")
	}
	return released.dir
}

// TestReleaseNeedsATag asks for a release of sources without a tag, for releases with invalid versions, and for one of a
// tag whose sources were changed.
func TestReleaseNeedsATag(t *testing.T) {
	checkout, changed := sources(t, t.TempDir()), tagged(t)
	if err := os.WriteFile(filepath.Join(changed, "more.go"), []byte("package claudemesh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ dir, version, want string }{
		{checkout, "", "git tag -a v1.2.3"},
		{checkout, "1.2", "version 1.2 is not like v1.2.3"},
		{checkout, "v1.2x", "version v1.2x is not like v1.2.3"},
		{changed, "", "the working tree differs from tag v" + release},
	} {
		cmd := exec.Command("make", "--no-print-directory", "release")
		if test.version != "" {
			cmd.Args = append(cmd.Args, "VERSION="+test.version)
		}
		cmd.Dir = test.dir
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), test.want) {
			t.Errorf("%v: %v, want a text with %q\n%s", cmd.Args, err, test.want, out)
		}
	}
}

// TestReleaseContents looks into the archives, the checksums and the SBOMs of a release.
func TestReleaseContents(t *testing.T) {
	dir := releaseOnce(t)
	system := "linux-" + runtime.GOARCH
	for archive, want := range map[string][]string{
		"claudemesh-" + release + "-" + system: {"claudemesh", "claudemesh-hook", "LICENSE", "man/claudemesh.1", "man/claudemesh-send.1",
			"completions/claudemesh.bash", "completions/claudemesh.zsh", "completions/claudemesh.fish"},
		"claudemesh-broker-" + release + "-" + system: {"caddy", "Caddyfile", "caddyfiles/cluster-node.caddyfile", "LICENSE", "man/caddy-claudemesh-status.8", "completions/caddy.bash",
			"systemd/claudemesh-broker.service", "systemd/environment", "prometheus/alerts.yml", "grafana/claudemesh.json"},
		"claudemesh-container-" + release: {runtime.GOARCH + "/caddy", "Caddyfile", "Containerfile", "compose.yaml", "empty/"},
	} {
		files := contents(t, filepath.Join(dir, archive+".tar.gz"))
		for _, name := range want {
			if !slices.Contains(files, archive+"/"+name) {
				t.Errorf("%s has no %s", archive, name)
			}
		}
	}
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("checksums: %v\n%s", err, out)
	}
	sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); name != "SHA256SUMS" && !strings.Contains(string(sums), "  "+name+"\n") {
			t.Errorf("%s has no checksum", name)
		}
	}
	inventory(t, filepath.Join(dir, "claudemesh-broker-"+release+"-"+system+".cdx.json"), "github.com/caddyserver/caddy/v2", "modernc.org/sqlite", "std")
	inventory(t, filepath.Join(dir, "claudemesh-"+release+"-"+system+".cdx.json"), "github.com/coder/websocket", "github.com/spf13/cobra", "std")
}

// contents lists the files of an archive.
func contents(t *testing.T, archive string) (names []string) {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatalf("%s: %v", archive, err)
		}
		names = append(names, header.Name)
	}
}

// inventory checks that an SBOM names the release and some modules.
func inventory(t *testing.T, path string, modules ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Format   string `json:"bomFormat"`
		Metadata struct {
			Component struct{ Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &bom); err != nil {
		t.Fatal(err)
	}
	if bom.Format != "CycloneDX" || bom.Metadata.Component.Version != "v"+release {
		t.Errorf("%s is a %s of version %q", path, bom.Format, bom.Metadata.Component.Version)
	}
	versions := make(map[string]string)
	for _, c := range bom.Components {
		versions[c.Name] = c.Version
	}
	for _, name := range modules {
		if versions[name] == "" {
			t.Errorf("%s does not list %s", path, name)
		}
	}
}

// TestReleasedPrograms checks that the programs are static and have no paths of this machine. TestPackages checks their
// versions.
func TestReleasedPrograms(t *testing.T) {
	dir := releaseOnce(t)
	for name, programs := range map[string][]string{"claudemesh": {"claudemesh", "claudemesh-hook"}, "claudemesh-broker": {"caddy"}} {
		tree := unpack(t, filepath.Join(dir, name+"-"+release+"-linux-"+runtime.GOARCH+".tar.gz"))
		for _, program := range programs {
			out, err := exec.Command("go", "version", "-m", filepath.Join(tree, program)).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "-trimpath=true") {
				t.Errorf("%s has paths of the machine that built it: %v\n%s", program, err, out)
			}
			file, err := elf.Open(filepath.Join(tree, program))
			if err != nil {
				t.Fatal(err)
			}
			if slices.ContainsFunc(file.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC }) {
				t.Errorf("%s is not static", program)
			}
			_ = file.Close()
		}
	}
}

// unpack unpacks an archive and returns the one directory in it.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", archive, "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return filepath.Join(dir, strings.TrimSuffix(filepath.Base(archive), ".tar.gz"))
}

// TestReproducible builds the smallest program in two directories. TestReproducibleRelease also empties the build cache.
func TestReproducible(t *testing.T) {
	t.Parallel()
	var programs [2][]byte
	for i := range programs {
		checkout := sources(t, filepath.Join(t.TempDir(), strings.Repeat("deep/", i)))
		cmd := exec.Command("make", "--no-print-directory", "build", "PROGRAMS=claudemesh-hook", "VERSION=v"+release)
		cmd.Dir = checkout
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
		}
		var err error
		if programs[i], err = os.ReadFile(filepath.Join(checkout, "bin", "claudemesh-hook")); err != nil {
			t.Fatal(err)
		}
	}
	if string(programs[0]) != string(programs[1]) {
		t.Errorf("two builds of claudemesh-hook differ: %d and %d bytes", len(programs[0]), len(programs[1]))
	}
}

// TestReproducibleRelease makes whole releases of one tag in two clones, the second one later, with nothing in the build
// cache, another time zone and another mask for files. All their files have the same bytes.
func TestReproducibleRelease(t *testing.T) {
	long(t)
	const targets = "linux/amd64 linux/arm64 darwin/amd64 darwin/arm64"
	repository := tagged(t)
	first := makeRelease(t, repository, filepath.Join(t.TempDir(), "clone"), targets)
	second := makeRelease(t, repository, filepath.Join(t.TempDir(), "else", "where"), targets,
		"GOCACHE="+t.TempDir(), "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8", "GOFLAGS=-p=1", "UMASK=077")
	one, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if string(one) != string(two) {
		t.Errorf("two releases differ:\n%s\n%s", one, two)
	}
	if n := strings.Count(string(one), "\n"); n != 4*2*2+2*2+1 {
		t.Errorf("the release has %d files:\n%s", n, one)
	}
}

// requireRoot skips a test that mounts file systems.
func requireRoot(t *testing.T, commands ...string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("this test mounts file systems, so it needs Linux and root")
	}
	for _, name := range commands {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("this test needs %s", name)
		}
	}
	const overlay = `mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" "$1/root" &&
		mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"`
	if out, err := exec.Command("unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", overlay, "sh", t.TempDir()).CombinedOutput(); err != nil {
		t.Skipf("this test needs a copy of this machine's root in a namespace: %v %s", err, out)
	}
}

// private runs a script in namespaces of its own for mounts and network.
func private(t *testing.T, script string, args ...string) {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--mount", "--net", "--propagation", "private", "bash", filepath.Join("testdata", script)}, args...)...)
	cmd.Env = harness.HomeEnv(t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s", out)
}
