package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/claudemesh/claudemesh/internal/await"
)

// TestReadme runs the commands of README.md's first exchange verbatim, in a copy of the
// sources and with an empty home, on its own port.
func TestReadme(t *testing.T) {
	t.Parallel()
	commands := readmeCommands(t)
	port := strconv.Itoa(freePort(t))
	home := shortTempDir(t)
	env := append(homeEnv(home),
		"BROKER_PORT="+port, "CADDY_ADMIN=unix/"+filepath.Join(home, "admin.sock"),
		"CLAUDEMESH_BROKER_URL=ws://127.0.0.1:"+port+"/ws",
	)
	env = append(env, goEnv(t)...)
	checkout := copyCheckout(t)
	shell := func(line string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir, cmd.Env = checkout, env
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		return cmd
	}

	link := ""
	var inbox *process
	for _, line := range commands {
		line = strings.ReplaceAll(line, "<link>", link)
		switch {
		case line == "make run":
			awaitWelcome(t, startGroup(t, shell(line)), port)
		case strings.HasSuffix(line, "inbox --follow"):
			inbox = startGroup(t, shell(line))
			await.Until(t, "bob is there", func() bool {
				out, err := shell("bin/claudemesh peers").Output()
				return err == nil && strings.Contains(string(out), "bob")
			})
		default:
			out, err := shell(line).Output()
			if err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
			if strings.HasSuffix(line, " invite") {
				link = strings.TrimSpace(string(out))
			}
		}
	}
	if inbox == nil || link == "" {
		t.Fatalf("the first exchange has no inbox or no invite: %v", commands)
	}
	if got := inbox.line(); !strings.HasSuffix(got, ": the build is green") {
		t.Errorf("bob's terminal shows %q", got)
	}
}

// TestReadmeToken creates a mesh with the operator's token, as README.md says.
func TestReadmeToken(t *testing.T) {
	t.Parallel()
	s := startServer(t, "CREATE_MESHES=token", "CLAUDEMESH_CREATE_TOKEN=secret")
	alice := newPerson(t, s)
	cmd := exec.Command("sh", "-ec", strings.NewReplacer("wss://mesh.example.com/ws", s.WSURL(), "…", "secret").Replace(
		takeBlock(t, "README.md", "claudemesh create team --broker ")))
	cmd.Dir, cmd.Env = filepath.Dir(alice.dir), append(alice.env, "PATH="+commands.Dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "You are its owner") {
		t.Errorf("%v\n%s", err, out)
	}
}

// readmeCommands returns the lines of the block under "The first exchange".
func readmeCommands(t *testing.T) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(takeBlock(t, "README.md", "make run\n")) {
		lines = append(lines, strings.TrimSpace(line))
	}
	if len(lines) < 6 {
		t.Fatalf("README.md's first exchange is %q", lines)
	}
	return lines
}

// copyCheckout copies the sources, so that make builds into the test's own directory.
func copyCheckout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(commands.Repo)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == ".git" || e.Name() == "bin" {
			continue
		}
		if out, err := exec.Command("cp", "-a", filepath.Join(commands.Repo, e.Name()), dir).CombinedOutput(); err != nil {
			t.Fatalf("copy %s: %v %s", e.Name(), err, out)
		}
	}
	return dir
}

// goEnv lets go build find its caches despite the empty home.
func goEnv(t *testing.T) []string {
	t.Helper()
	var env []string
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	return env
}

// startGroup starts a command in its own process group.
func startGroup(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	pr := startProcess(t, cmd)
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) })
	return pr
}

// awaitWelcome reads the output of make run until the instructions are complete.
func awaitWelcome(t *testing.T, pr *process, port string) {
	t.Helper()
	var text strings.Builder
	for !strings.Contains(text.String(), "Ctrl-C") {
		text.WriteString(pr.lineWithin(await.BuildPatience) + "\n")
	}
	for _, want := range []string{
		"ws://127.0.0.1:" + port + "/ws", "Its data is in", "bin/claudemesh create team", "bin/claudemesh invite", "bin/claudemesh join <link>",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("make run does not print %q:\n%s", want, text.String())
		}
	}
}
