package caddymesh

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	_ "modernc.org/sqlite"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/wire"
)

// command runs "caddy claudemesh" with these arguments.
func command(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	root := &cobra.Command{Use: "claudemesh", SilenceUsage: true, SilenceErrors: true}
	addCommands(root)
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err = root.Execute()
	return out.String(), err
}

// TestMistakenCommands checks that a command line with a mistake is refused, and that the error says
// what is wrong with it and how to write it.
func TestMistakenCommands(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"frob":             `claudemesh has no command "frob"; claudemesh --help lists its commands`,
		"meshs":            `claudemesh has no command "meshs"; did you mean "meshes"? claudemesh --help lists its commands`,
		"audit verfy":      `claudemesh audit has no command "verfy"; did you mean "verify"? claudemesh audit --help lists its commands`,
		"kick":             "<mesh> and <name|key> are missing; usage: claudemesh kick <mesh> <name|key>",
		"remove team":      "<name|key> is missing; usage: claudemesh remove <mesh> <name|key>",
		"queue":            "<mesh> is missing; usage: claudemesh queue <mesh>",
		"backup":           "<file> is missing; usage: claudemesh backup <file>",
		"restore a b":      `there is an argument too many: "b"; usage: claudemesh restore <file>`,
		"nodes --sqlite x": "has no nodes, because one broker at a time uses it; name a Postgres database with --config or --database",
	} {
		if _, err := command(t, strings.Fields(line)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", line, err, want)
		}
	}
	if _, err := command(t, "kick", "team", ""); err == nil || !strings.HasPrefix(err.Error(), "<name|key> is empty; usage: ") {
		t.Errorf("kick with an empty argument: %v", err)
	}
	for _, line := range []string{"", "audit"} {
		if out, err := command(t, strings.Fields(line)...); err != nil || !strings.Contains(out, "Available Commands:") {
			t.Errorf("%q: got %v\n%s", line, err, out)
		}
	}
}

func TestStorageCommand(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("DATABASE_URL", "postgres://mesh:hunter2@db/mesh")
	config := dir + "/Caddyfile"
	write := func(site string) {
		if err := os.WriteFile(config, []byte(":80 {\n"+site+"\n}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want string, args ...string) {
		t.Helper()
		out, err := command(t, append([]string{"storage"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		if out != want {
			t.Errorf("%v: %q, want %q", args, out, want)
		}
	}
	run("Postgres database mesh at db:5432\n") // the default without a config
	write("handle /a/* {\nclaudemesh {\nstorage sqlite /a.db\n}\n}\nhandle {\nclaudemesh {\nstorage sqlite /a.db\n}\n}")
	run("SQLite database /a.db\n") // the Caddyfile in the current directory; each storage once
	write("claudemesh")
	run("Postgres database mesh at db:5432\n", "--config", config)
	run("SQLite database /b.db\n", "--sqlite", "/b.db")
	run("Postgres database x at h:1\n", "--database", "postgres://u:p@h:1/x")

	write("respond ok")
	if _, err := command(t, "storage", "--config", config); err == nil || !strings.Contains(err.Error(), "no claudemesh handler") {
		t.Errorf("config without handler: %v", err)
	}
	if _, err := command(t, "storage", "--sqlite", "a", "--database", "b"); err == nil {
		t.Errorf("the command accepts --sqlite together with --database")
	}
}

func TestMigrateCommand(t *testing.T) {
	path := t.TempDir() + "/mesh.db"
	for range 2 { // the second run changes nothing
		out, err := command(t, "migrate", "--sqlite", path)
		if err != nil || out != "SQLite database "+path+": schema is up to date\n" {
			t.Fatalf("got output %q and error %v", out, err)
		}
	}
}

func TestVerifyCommand(t *testing.T) {
	s := startServer(t)
	o := s.createMesh("Release Team")
	o.invite()
	o.ws.CloseNow()
	if err := s.loadSite("respond 204"); err != nil { // stops the broker, which stores everything
		t.Fatal(err)
	}
	path := s.db("mesh.db")

	out, err := command(t, "audit", "verify", "--sqlite", path)
	if err != nil || !strings.HasPrefix(out, "mesh team ("+o.meshID+"): ") || !strings.HasSuffix(out, " entries, chain intact\n") {
		t.Fatalf("got output %q and error %v", out, err)
	}
	if bySlug, err := command(t, "audit", "verify", "--sqlite", path, "--mesh", "team"); err != nil || bySlug != out {
		t.Errorf("by slug: %q, %v", bySlug, err)
	}
	for _, unknown := range []string{strings.Repeat("a", 32), "tea"} {
		if out, err := command(t, "audit", "verify", "--sqlite", path, "--mesh", unknown); err == nil || out != "" {
			t.Errorf("the command verifies the unknown mesh %s: %q", unknown, out)
		}
	}

	exported, err := command(t, "audit", "export", "--sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	reports, err := audit.VerifyExport(strings.NewReader(exported), func(wire.ID) (audit.Kept, error) { return audit.Kept{}, nil })
	if err != nil || len(reports) != 1 || reports[0].Bad != nil || reports[0].First != 1 || strings.Count(exported, "\n") != int(reports[0].Head.Seq)+1 {
		t.Errorf("audit export: %+v, %v\n%s", reports, err, exported)
	}
	if out, err := command(t, "audit", "export", "--sqlite", path, "--since", "2100-01-01", "--mesh", o.meshID); err != nil || out != "" {
		t.Errorf("audit export of the future: %q, %v", out, err)
	}
	for _, args := range [][]string{{"--since", "yesterday"}, {"--mesh", "1"}, {"--mesh", strings.Repeat("a", 32)}} {
		if out, err := command(t, append([]string{"audit", "export", "--sqlite", path}, args...)...); err == nil || out != "" {
			t.Errorf("audit export %v: %q, %v", args, out, err)
		}
	}

	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`UPDATE audit_entries SET actor = 'mallory' WHERE seq = 2`); err != nil {
		t.Fatal(err)
	}
	out, err = command(t, "audit", "verify", "--sqlite", path)
	if err == nil || !strings.Contains(out, "CHAIN BROKEN, entry 2 is altered") {
		t.Errorf("got output %q and error %v", out, err)
	}
	out, err = command(t, "audit", "verify", "--sqlite", path, "--json", "--mesh", o.meshID)
	var f finding
	if jsonErr := json.Unmarshal([]byte(out), &f); jsonErr != nil {
		t.Fatal(jsonErr)
	}
	if err == nil || f.OK || f.Seq != 2 || f.Entries != 1 {
		t.Errorf("got output %s and error %v", out, err)
	}

	if out, err := command(t, "audit", "export", "--sqlite", path); err == nil || strings.Contains(out, "mallory") {
		t.Errorf("audit export of a broken chain: %q, %v", out, err)
	}

	empty := t.TempDir() + "/empty.db"
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"verify", "export"} {
		if out, err := command(t, "audit", verb, "--sqlite", empty); err == nil || !strings.Contains(err.Error(), "is not the database of a claudemesh broker") || out != "" {
			t.Errorf("audit %s of an empty file: %q, %v", verb, out, err)
		}
	}

	missing := t.TempDir() + "/none.db"
	if _, err := command(t, "audit", "verify", "--sqlite", missing); err == nil {
		t.Errorf("the command verifies a missing database")
	}
	if _, err := os.Stat(missing); err == nil {
		t.Errorf("the command created the database")
	}
}
