package cli

import (
	"bytes"
	"strings"
	"testing"
)

// TestDaemonless checks that on a system that can't run a daemon, the verbs that need one
// say so, and the others work.
func TestDaemonless(t *testing.T) {
	t.Setenv("CLAUDEMESH_CONFIG_DIR", t.TempDir())
	for line, refused := range map[string]bool{
		"daemon up": true, "daemon run": true, "daemon status": true, "daemon install-service": true,
		"send bob x --no-wait": true, "send bob x --wait read": true,
		"launch": true, "launch -- -p x": true, "install": true,
		"meshes": false, "version": false, "sessions": false,
	} {
		var out, errOut bytes.Buffer
		a := &app{in: strings.NewReader(""), out: &out, err: &errOut, daemonless: true}
		code := a.run(t.Context(), strings.Fields(line))
		if said := strings.Contains(errOut.String(), "doesn't run on Windows yet"); said != refused || (code == exitOK) == refused {
			t.Errorf("%s: exit code %d, %s", line, code, errOut.String())
		}
	}
}
