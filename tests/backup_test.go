package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/internal/await"
)

const backedUpSession = "0f8fad5b-d9cb-469f-a165-70867728950e"

// TestBackup backs up a member and its session and restores both on another machine.
func TestBackup(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	bob.must("verify", "alice", "--confirm")
	bob.begin("startup")
	var key string
	await.Until(t, "bob's session is connected", func() bool {
		for _, row := range alice.list("peers", "--json") {
			if row.str("sessionId") == backedUpSession {
				key = row.str("pubkey")
			}
		}
		return key != ""
	})
	bob.must("daemon", "down")

	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "correct horse battery\n")
	file := filepath.Join(t.TempDir(), "bob.backup")
	bob.fails(2, "--passphrase-file", "backup", file) // no terminal to ask for the passphrase
	missing := filepath.Join(filepath.Dir(file), "none")
	bob.fails(1, missing+" does not exist; make it first", "backup", filepath.Join(missing, "bob.backup"))
	bob.fails(2, "is empty", "backup", "")
	bob.must("backup", file, "--passphrase-file", secret)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", info, err)
	}
	bob.fails(1, "already exists", "backup", file, "--passphrase-file", secret)
	member := bob.config()
	if b, err := os.ReadFile(file); err != nil || strings.Contains(string(b), member.str("secretKey")) {
		t.Errorf("the file shows a secret, or: %v", err)
	}
	if err := os.RemoveAll(bob.dir); err != nil {
		t.Fatal(err)
	}
	alice.must("send", key, "for the session")
	alice.must("send", "bob", "for the member")

	again := newPerson(t, s)
	wrong := filepath.Join(t.TempDir(), "wrong")
	write(t, wrong, "correct horse batterie\n")
	again.fails(1, "passphrase is wrong", "restore", file, "--passphrase-file", wrong)
	again.fails(1, "not joined a mesh", "peers")
	again.must("restore", file, "--passphrase-file", secret)
	again.must("restore", file, "--passphrase-file", secret)
	if got := again.config(); toJSON(t, got) != toJSON(t, member) {
		t.Errorf("the member is %s, want %s", got, member)
	}
	if out := again.must("verify", "alice"); !strings.Contains(out, "You compared this number") {
		t.Errorf("verify:\n%s", out)
	}

	again.begin("resume")
	text := ""
	await.Until(t, "the session has read its mail", func() bool {
		text += again.checkMessages()
		return strings.Contains(text, "for the session") && strings.Contains(text, "for the member")
	})
	inSession := *again
	inSession.env = append(slices.Clone(again.env), "CLAUDE_CODE_SESSION_ID="+backedUpSession)
	me := inSession.list("whoami", "--json")[0]
	if session, ok := me["session"].(map[string]any); !ok || session["pubkey"] != key || session["id"] != backedUpSession {
		t.Errorf("whoami in the session: %s", me)
	}
	again.must("daemon", "down")

	// Restore overwrites nothing, unless the user asks for it, not even another member's key.
	other := newPerson(t, s)
	other.must("join", alice.invite(), "--name", "other")
	own := other.config().str("pubkey")
	other.fails(1, "--replace", "restore", file, "--passphrase-file", secret)
	if other.config().str("pubkey") != own {
		t.Error("a refused restore changed the member")
	}
	other.must("restore", file, "--passphrase-file", secret, "--replace")
	if got := other.config(); got.str("pubkey") != member.str("pubkey") {
		t.Errorf("the member is %s", got)
	}
	other.must("keys", "restore", own[:8])
	other.must("peers")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// begin reports the session like Claude Code does. This process plays Claude Code.
func (p *person) begin(source string) {
	p.t.Helper()
	p.env = append(p.env, "CLAUDE_PID="+strconv.Itoa(os.Getpid()))
	event := frame{"hook_event_name": "SessionStart", "session_id": backedUpSession, "source": source, "cwd": filepath.Dir(p.dir)}
	if _, errOut, code := p.runWith(event.String(), "hook"); code != 0 {
		p.t.Fatalf("hook: %d %s", code, errOut)
	}
	p.t.Cleanup(func() { p.run("daemon", "down") })
}

// checkMessages makes the tool call of the session's model.
func (p *person) checkMessages() string {
	p.t.Helper()
	cmd := p.command("mcp")
	cmd.Env = append(cmd.Env, "CLAUDE_CODE_SESSION_ID="+backedUpSession)
	client := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil)
	session, err := client.Connect(p.t.Context(), &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer session.Close()
	result, err := session.CallTool(p.t.Context(), &mcp.CallToolParams{Name: "check_messages", Arguments: map[string]any{}})
	if err != nil {
		p.t.Fatal(err)
	}
	text := ""
	for _, c := range result.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			text += t.Text
		}
	}
	return text
}
