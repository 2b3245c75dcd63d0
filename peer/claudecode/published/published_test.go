package published

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/claudemesh/claudemesh/peer/daemon"
	"github.com/claudemesh/claudemesh/wire"
)

// text is a file written by Claude Code 2.1.330, with a placeholder for the status.
const text = `{"pid":451,"sessionId":"55555555-5555-4555-8555-555555555555","cwd":"/w","startedAt":1795477789750,"procStart":"167140","pidDomain":"linux:3d1219c7c4c5404aaa1f6d2a48adfda4:pid:[4026531836]","version":"2.1.330","peerProtocol":1,"kind":"interactive","entrypoint":"cli","messagingSocketPath":"/cc-socks/451.sock","name":"s1-c7","nameSource":"derived",%s"updatedAt":1795477795071,"statusUpdatedAt":1795477795071}`

func TestPublished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sessions"), 0o700); err != nil {
		t.Fatal(err)
	}
	reader := Reader{ConfigDir: dir}
	if p, ok := reader.Published("", 451); ok {
		t.Errorf("no file: %+v", p)
	}
	start, namespace := "167140", "pid:[4026531836]"
	if runtime.GOOS != "linux" {
		start, namespace = "", ""
	}
	with := func(status wire.Status, reason string) daemon.Published {
		return daemon.Published{SessionID: "55555555-5555-4555-8555-555555555555", ProcStart: start, Namespace: namespace, Status: status, Reason: reason}
	}
	for _, tc := range []struct {
		name, text string
		want       daemon.Published
	}{
		{"working", fmt.Sprintf(text, `"status":"busy",`), with(wire.Working, "")},
		{"idle", fmt.Sprintf(text, `"status":"idle",`), with(wire.Idle, "")},
		{"idle with a monitor", fmt.Sprintf(text, `"status":"shell",`), with(wire.Idle, "")},
		{"asks for permission", fmt.Sprintf(text, `"status":"waiting","waitingFor":"permission prompt",`), with(wire.Working, "waiting")},
		{"a status to come", fmt.Sprintf(text, `"status":"dreaming",`), with("", "")},
		{"no status", fmt.Sprintf(text, ""), with("", "")},
		{"of an older version", `{"pid":451,"sessionId":"5"}`, daemon.Published{SessionID: "5"}},
		{"a namespace of another form", `{"pid":451,"sessionId":"5","pidDomain":"linux"}`, daemon.Published{SessionID: "5"}},
		{"torn", fmt.Sprintf(text, `"status":"idle",`)[:200], daemon.Published{}},
		{"of another process", `{"pid":452,"sessionId":"5","status":"idle"}`, daemon.Published{}},
		{"other types", `{"pid":"451","sessionId":5}`, daemon.Published{}},
		{"no object", `[]`, daemon.Published{}},
		{"empty", "", daemon.Published{}},
	} {
		if err := os.WriteFile(filepath.Join(dir, "sessions", "451.json"), []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, ok := reader.Published("", 451); p != tc.want || ok != (tc.want.SessionID != "") {
			t.Errorf("%s: got %+v, %v, want %+v", tc.name, p, ok, tc.want)
		}
		if p, ok := (Reader{ConfigDir: t.TempDir()}).Published(dir, 451); p != tc.want || ok != (tc.want.SessionID != "") {
			t.Errorf("%s: a session with a directory of its own: got %+v, %v, want %+v", tc.name, p, ok, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(text, `"status":"busy",`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parse(b, 451)
		if ok != (p.SessionID != "") || p.Reason != "" && p.Status != wire.Working {
			t.Errorf("%q: %+v, %v", b, p, ok)
		}
	})
}
