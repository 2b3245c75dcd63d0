package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestHintsCanBeCopied runs the commands that create, join and errors suggest, in the shell
// that printed them.
func TestHintsCanBeCopied(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	home := shortTempDir(t)
	if err := os.MkdirAll(filepath.Join(home, "my bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(commands.Claudemesh, filepath.Join(home, "my bin", "claudemesh")); err != nil {
		t.Fatal(err)
	}
	// Without CLAUDEMESH_CONFIG_DIR, a command uses an empty directory that has joined no mesh.
	env := append(homeEnv(home), "CLAUDEMESH_BROKER_URL="+s.WSURL())
	shell := func(line string, env ...string) string {
		t.Helper()
		cmd := exec.Command("sh", "-c", line)
		cmd.Dir, cmd.Env = home, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return string(out)
	}
	hint := func(out, before string) string {
		t.Helper()
		_, after, ok := strings.Cut(out, before)
		if !ok {
			t.Fatalf("no %q in\n%s", before, out)
		}
		line, _, _ := strings.Cut(after, "\n")
		return strings.TrimSpace(line)
	}
	const alice, bob = "CLAUDEMESH_CONFIG_DIR=alice 'my bin/claudemesh'", "CLAUDEMESH_CONFIG_DIR=\"$PWD/it's bob\" 'my bin/claudemesh'"
	invite := hint(shell(alice+" create team", env...), "Invite somebody: ")
	if want := alice + " invite"; invite != want {
		t.Errorf("the hint is %s, want %s", invite, want)
	}
	link, _, _ := strings.Cut(shell(invite, env...), "\n")
	out := shell(bob+" join '"+link+"' --name bob", env...)
	if out := shell(hint(out, "See who is here:  "), env...); !strings.Contains(out, "NAME") {
		t.Errorf("peers: %s", out)
	}
	if follow := hint(out, "Read messages:    "); !strings.HasSuffix(follow, "inbox --follow") {
		t.Errorf("the hint is %s", follow)
	}
	// With a second mesh, the hint says which one.
	second := hint(shell(alice+" create second", env...), "Invite somebody: ")
	link, _, _ = strings.Cut(shell(second, env...), "\n")
	if out := shell(bob+" join '"+link+"' --name bob", env...); !strings.Contains(hint(out, "See who is here:  "), "--mesh second") {
		t.Errorf("the hint names no mesh: %s", out)
	}
	refusal := shell(alice+" create team 2>&1 || true", env...)
	if !strings.Contains(refusal, "`"+alice+" forget ") {
		t.Errorf("the refusal: %s", refusal)
	}
	// If the command is on the PATH, the hint needs only its name.
	env = append(env, "PATH="+filepath.Dir(commands.Claudemesh)+":"+os.Getenv("PATH"))
	if out := shell("claudemesh create third", env...); hint(out, "Invite somebody: ") != "claudemesh invite" {
		t.Errorf("on the PATH: %s", out)
	}
}

// TestLocalLink checks that invite says when a link works only on this machine, and how to
// get a link for other machines.
func TestLocalLink(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice := newPerson(t, s)
	alice.must("create", "team")
	for _, broker := range []string{s.WSURL(), strings.Replace(s.WSURL(), "127.0.0.1", "localhost", 1)} {
		_, errOut, code := alice.run("invite", "--broker", broker)
		if code != 0 || !strings.Contains(errOut, "only works on this machine") || !strings.Contains(errOut, commands.Claudemesh+" invite --broker wss://") {
			t.Errorf("%s: exit code %d\n%s", broker, code, errOut)
		}
	}
}
