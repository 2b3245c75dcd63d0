package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const module = "github.com/claudemesh/claudemesh/"

// mayImport lists, for each package, the packages of this module that it may import,
// directly or indirectly. Dependencies point one way.
var mayImport = map[string]string{
	"visible": "",
	// Which names look alike.
	"visible/alike": "visible",
	"wire":          "",
	"identity":      "wire",
	"envelope":      "wire identity",
	"mesh":          "visible visible/alike wire identity",
	"presence":      "wire",
	"queue":         "wire",
	"audit":         "wire",
	// Group commit: passes the domain packages' changes to the storage in batches.
	"journal": "wire presence queue audit",
	// Which node owns which mesh, and the way to it.
	"cluster": "wire",
	"broker":  "visible visible/alike wire identity mesh presence queue audit journal storage cluster",
	// The client library: no database.
	"peer": client,
	// The client's data on disk.
	"peer/disk":  "internal/netfs internal/sqlitefile peer/configdir",
	"peer/inbox": client + disk + "peer",
	// The checkpoints of audit logs that the client keeps, in a file.
	"peer/checkpoints": client + "audit peer",
	// The peer side on one machine: the daemon, and the integration with Claude Code.
	"peer/configdir":             "",
	"peer/internal/nearest":      "",
	"peer/local":                 "wire peer/configdir peer/daemon/process",
	"peer/daemon":                client + disk + "audit peer peer/checkpoints peer/local peer/daemon/...",
	"peer/daemon/attention":      client + "peer peer/local peer/daemon/process",
	"peer/daemon/process":        "",
	"peer/daemon/store":          client + disk + "peer peer/local peer/daemon/process",
	"peer/claudecode/diagnose":   daemon + "peer/claudecode/...",
	"peer/claudecode/frame":      "visible",
	"peer/claudecode/debuglog":   "visible peer/configdir",
	"peer/claudecode/hook":       hookParts + "peer/claudecode/lineage peer/claudecode/program peer/claudecode/debuglog",
	"peer/claudecode/install":    client + "peer peer/claudecode/plugin peer/claudecode/program peer/claudecode/settings",
	"peer/claudecode/launch":     daemon + "peer/claudecode/...",
	"peer/claudecode/lineage":    "wire peer/configdir peer/local peer/daemon/process",
	"peer/claudecode/mcpserver":  client + "peer peer/local peer/daemon/process peer/claudecode/frame peer/claudecode/lineage peer/claudecode/wake",
	"peer/claudecode/plugin":     client + "peer",
	"peer/claudecode/program":    "",
	"peer/claudecode/published":  daemon + "peer/claudecode/frame peer/claudecode/transcript",
	"peer/claudecode/settings":   "",
	"peer/claudecode/statusline": client + "peer peer/local peer/daemon/process",
	"peer/claudecode/transcript": "",
	"peer/claudecode/wake":       client + "peer peer/local peer/daemon/process peer/claudecode/lineage",
	"peer/bench":                 client + "peer",
	"peer/backup":                client + disk + "peer",
	"peer/cli":                   daemon + "peer/backup peer/bench peer/claudecode/...",
	"caddymesh":                  "visible visible/alike wire identity mesh presence queue audit journal storage storage/sqlite storage/postgres storage/move storage/internal/... internal/sqlitefile internal/netfs broker cluster",
	// The two implementations import the domain packages for their types.
	"storage":          "",
	"storage/move":     "visible visible/alike wire identity mesh presence queue audit journal cluster storage storage/sqlite storage/postgres storage/internal/... internal/sqlitefile",
	"storage/sqlite":   "visible visible/alike wire identity mesh presence queue audit journal storage storage/internal/... internal/sqlitefile",
	"storage/postgres": "visible visible/alike wire identity mesh presence queue audit journal cluster storage storage/internal/...",
	"cmd/caddy":        "visible visible/alike wire identity mesh presence queue audit journal storage storage/sqlite storage/postgres storage/move storage/internal/... internal/sqlitefile internal/netfs broker cluster caddymesh",
	// No client library and no database: Claude Code starts it at every tool call.
	"cmd/claudemesh-hook": hookParts + "peer/claudecode/lineage peer/claudecode/debuglog peer/claudecode/program peer/claudecode/hook",
	"cmd/claudemesh":      daemon + "peer/backup peer/bench peer/claudecode/... peer/cli",
	// An example of a program by others.
	"examples/bot": client + "peer",
}

// The parts of the client library, of the hook and of the daemon.
const (
	client    = "visible visible/alike wire identity envelope peer/configdir peer/internal/nearest "
	disk      = "internal/netfs internal/sqlitefile peer/disk peer/inbox "
	hookParts = "visible wire peer/configdir peer/local peer/daemon/process "
	daemon    = client + disk + "audit peer peer/checkpoints peer/local peer/daemon peer/daemon/... "
)

// The packages that may use Caddy or a database.
var (
	knowCaddy = []string{"caddymesh", "cmd/caddy"}
	knowSQL   = []string{"caddymesh", "cmd/caddy", "storage/sqlite", "storage/postgres", "storage/move",
		"peer/disk", "peer/inbox", "peer/daemon", "peer/daemon/store", "peer/backup", "peer/claudecode/diagnose", "peer/claudecode/launch", "peer/claudecode/published", "peer/cli", "cmd/claudemesh"}
)

func TestDependencies(t *testing.T) {
	t.Parallel()
	for room, allowed := range mayImport {
		allowed += " internal/system" // imports no package of this module
		t.Run(room, func(t *testing.T) {
			t.Parallel()
			for _, dep := range dependencies(t, room) {
				if own, ok := strings.CutPrefix(dep, module); ok {
					if own != room && !allows(allowed, own) {
						t.Errorf("%s uses %s", room, own)
					}
				}
				if isCaddy(dep) && !contains(knowCaddy, room) {
					t.Errorf("%s imports Caddy: %s", room, dep)
				}
				if isSQL(dep) && !contains(knowSQL, room) {
					t.Errorf("%s knows SQL: %s", room, dep)
				}
			}
		})
	}
}

// TestEveryRoomHasRules checks that every package has a line in mayImport.
func TestEveryRoomHasRules(t *testing.T) {
	t.Parallel()
	for _, pkg := range goList(t, "./...") {
		room := strings.TrimPrefix(pkg, module)
		helper := strings.Contains(room, "internal/") || room == "tests" || strings.HasPrefix(room, "tests/") || room == "storage/storagetest" || room == "broker/simulation"
		if _, known := mayImport[room]; !known && !helper {
			t.Errorf("%s has no line in mayImport", room)
		}
	}
}

// TestDependenciesSayWhatTheyAreFor checks that each module's go.mod says of every direct dependency
// what it is for.
func TestDependenciesSayWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"go.mod", "tests/bench/go.mod", "tests/operator/go.mod"} {
		text := readPage(t, file)
		mod, err := modfile.ParseLax(file, []byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(mod.Require) == 0 {
			t.Errorf("%s requires nothing", file)
		}
		for _, r := range mod.Require {
			if !r.Indirect && len(r.Syntax.Suffix) == 0 {
				t.Errorf("%s:%d: %s has no comment", file, r.Syntax.Start.Line, r.Mod.Path)
			}
		}
	}
}

// TestModulesForCaddy checks that the page for operators lists the modules that ours adds to
// a Caddy, each and no other.
func TestModulesForCaddy(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(commands.Repo, "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "<!-- modules -->")
	section, _, _ = strings.Cut(section, "<!-- /modules -->")
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(.+?)` \\|").FindAllStringSubmatch(section, -1) {
		listed = append(listed, row[1])
	}
	const modules = "{{with .Module}}{{.Path}}{{end}}"
	added := goList(t, "-deps", "-f", modules, "./caddymesh")
	caddys := goList(t, "-deps", "-f", modules, "github.com/caddyserver/caddy/v2/modules/standard", "github.com/caddyserver/caddy/v2/cmd")
	added = slices.DeleteFunc(added, func(m string) bool { return slices.Contains(caddys, m) || strings.HasPrefix(module, m) })
	slices.Sort(added)
	if added = slices.Compact(added); !slices.Equal(listed, added) {
		t.Errorf("docs/operating.md lists %v; ours adds %v", listed, added)
	}
}

func dependencies(t *testing.T, room string) []string {
	t.Helper()
	return goList(t, "-deps", "./"+room)
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = commands.Repo
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

// allows reports whether a list of packages contains one; "x/..." means all packages below x.
func allows(list, room string) bool {
	for _, a := range strings.Fields(list) {
		if below, all := strings.CutSuffix(a, "..."); a == room || all && strings.HasPrefix(room, below) {
			return true
		}
	}
	return false
}

func contains(list []string, room string) bool { return allows(strings.Join(list, " "), room) }

func isCaddy(pkg string) bool {
	return strings.HasPrefix(pkg, "github.com/caddyserver/") || strings.HasPrefix(pkg, module+"caddymesh")
}

func isSQL(pkg string) bool {
	return pkg == "database/sql" || strings.HasPrefix(pkg, "modernc.org/sqlite") || strings.HasPrefix(pkg, "github.com/jackc/")
}
