package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuildWithoutNetwork builds the broker without a network, together with another module
// from the module cache.
func TestBuildWithoutNetwork(t *testing.T) {
	t.Parallel()
	alone := []string{"unshare", "-n"}
	if os.Getuid() != 0 {
		alone = []string{"unshare", "-rn"}
	}
	if out, err := exec.Command(alone[0], alone[1], "true").CombinedOutput(); err != nil {
		t.Skipf("unshare -n can't create a network namespace: %v %s", err, out)
	}
	checkout := copyCheckout(t)
	env := append(homeEnv(t.TempDir()), goEnv(t)...)
	const standard = "github.com/caddyserver/caddy/v2/modules/standard"
	for _, with := range []string{"", "WITH=" + standard} {
		cmd := exec.Command(alone[0], append(alone[1:], "make", "-f", "xcaddy.mk", "OFFLINE=1", with)...)
		if with == "" {
			cmd.Args = cmd.Args[:len(cmd.Args)-1]
		}
		cmd.Dir, cmd.Env = checkout, env
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "\nhttp.handlers.claudemesh\n") {
			t.Fatalf("%s: %v\n%s", with, err, out)
		}
	}
	// The build must not change the checkout.
	for _, name := range []string{"go.mod", "go.sum"} {
		before, err := os.ReadFile(filepath.Join(commands.Repo, name))
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(filepath.Join(checkout, name))
		if err != nil || string(after) != string(before) {
			t.Errorf("%s has changed, %v", name, err)
		}
	}
}
