package cli

import (
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
)

// complete returns the completions of the last word of a command line, and the directive.
func complete(t *testing.T, dir peer.Dir, args ...string) (words []string, directive string) {
	t.Helper()
	code, out, _ := run(t, string(dir), "", append([]string{"__complete"}, args...)...)
	if code != exitOK {
		t.Fatalf("%v: exit code %d, %s", args, code, out)
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if d, ok := strings.CutPrefix(line, ":"); ok {
			return words, d
		}
		word, _, _ := strings.Cut(line, "\t")
		words = append(words, word)
	}
	t.Fatalf("%v: no directive in %q", args, out)
	return nil, ""
}

func TestCompletions(t *testing.T) {
	dir := peer.Dir(t.TempDir())
	t.Setenv("CLAUDEMESH_SESSIONS_DIR", "")
	joinedMesh(t, dir, "mesh-00000001", "team")
	joinedMesh(t, dir, "mesh-00000002", "twice")
	joinedMesh(t, dir, "mesh-00000003", "twice")
	gone := joinedMesh(t, dir, "mesh-00000004", "gone")
	if _, err := peer.Forget(t.Context(), dir, gone.MeshID); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenSessionStore(peer.SessionsRoot(dir)).Key("team", sessionID); err != nil {
		t.Fatal(err)
	}
	store, err := inbox.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	bob := newKey(t)
	if _, err := store.Contacts().Pin(t.Context(), "mesh-00000001", bob, "bob the builder", gone.JoinedAt); err != nil {
		t.Fatal(err)
	}
	message := peer.Incoming{MessageID: "0123456789abcdef0123456789abcdef", Sender: bob, Name: "bob", Sealing: peer.Direct, Body: []byte("hi"), CreatedAt: gone.JoinedAt}
	if _, err := store.Add(t.Context(), inbox.Mailbox{MeshID: "mesh-00000001"}, &message, gone.JoinedAt); err != nil {
		t.Fatal(err)
	}
	(&app{dir: dir}).rememberSent(sentEntry{MeshID: "mesh-00000001", MessageID: "fedcba9876543210fedcba9876543210", To: "bob"})
	meshNames := []string{"team", "00000002", "00000003"}
	for _, tc := range []struct {
		line string
		want []string
	}{
		{"peers --mesh ", meshNames},
		{"launch --mesh ", meshNames},
		{"forget ", meshNames},
		{"leave ", meshNames},
		{"rename ", meshNames},
		{"role x ", []string{"admin", "member"}},
		{"grant x ", []string{"read", "dm", "broadcast", "state-read"}},
		{"send --priority ", []string{"now", "next", "low"}},
		{"send --wait ", []string{"delivered", "read"}},
		{"reply --wait ", []string{"delivered", "read"}},
		{"invite --role ", []string{"member", "admin"}},
		{"keys restore ", []string{gone.Member.Public().Short()}},
		{"sessions rm ", []string{sessionID}},
		{"inbox show --mesh team ", []string{"89abcdef"}},
		{"status --mesh team ", []string{"76543210"}},
		{"send --mesh team --reply-to ", []string{"89abcdef"}},
		// If the broker doesn't answer, the known members are offered.
		{"send --mesh team ", []string{"bob the builder", "@all"}},
		{"block --mesh team ", []string{"bob the builder"}},
		{"role --mesh team ", []string{"bob the builder"}},
		// Several meshes, none chosen; no mesh; too many words: no error, and no file names.
		{"send ", []string{"@all"}},
		{"send --mesh nosuch ", []string{"@all"}},
		{"send --mesh team bob ", nil},
		{"peers ", nil},
		{"meshes ", nil},
	} {
		got, directive := complete(t, dir, append(strings.Split(strings.TrimSuffix(tc.line, " "), " "), "")...)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s<TAB>: got %q, want %q", tc.line, got, tc.want)
		}
		if directive == "0" {
			t.Errorf("%s<TAB> completes file names", tc.line)
		}
	}
	if got, directive := complete(t, dir, "restore", ""); len(got) > 0 || directive != "0" {
		t.Errorf("restore completes %q %s, no file names", got, directive)
	}
	for _, empty := range []peer.Dir{peer.Dir(t.TempDir()), "/dev/null/nowhere"} {
		if got, _ := complete(t, empty, "peers", "--mesh", ""); len(got) > 0 {
			t.Errorf("got %q", got)
		}
	}
}

// TestCompletionTimesOut checks that a silent broker doesn't block the shell.
func TestCompletionTimesOut(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dir := peer.Dir(t.TempDir())
	joinedMesh(t, dir, "mesh-00000001", "team")
	if got, _ := complete(t, dir, "send", "--broker", "ws://"+silent.Addr().String()+"/ws", ""); !slices.Equal(got, []string{"@all"}) && len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

// TestCompletionsNameExistingVerbs checks that each entry of the tables names an existing verb
// and flag.
func TestCompletionsNameExistingVerbs(t *testing.T) {
	root := (&app{}).root()
	for path := range completions {
		if c, rest, err := root.Find(strings.Fields(path)); err != nil || len(rest) > 0 || c.CommandPath() != "claudemesh "+path {
			t.Errorf("unknown verb %q", path)
		}
	}
	for name := range flagCompletions {
		path, flag, _ := strings.Cut(" "+name, " --")
		if c, _, err := root.Find(strings.Fields(path)); err != nil || c.Flag(flag) == nil && c.PersistentFlags().Lookup(flag) == nil {
			t.Errorf("there is no %q", name)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, _ := run(t, t.TempDir(), "", "completion", shell); code != exitOK || !strings.Contains(out, "__complete") {
			t.Errorf("completion %s: exit code %d, %d bytes", shell, code, len(out))
		}
	}
}
