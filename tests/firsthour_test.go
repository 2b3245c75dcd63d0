package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/claudemesh/claudemesh/internal/await"
)

// transcriptVariable is the environment variable that names a file for the transcript of
// TestFirstHour; scripts/first-hour prints it.
const transcriptVariable = "CLAUDEMESH_TRANSCRIPT"

// entry is a command that somebody types at a prompt, and what the terminal then shows.
type entry struct {
	who   string
	types string // <link> and <id> are placeholders for the last ones that a terminal showed
	code  int
	says  []string
	// asks is a question that the command asks, answer the text typed in reply.
	asks, answer string
}

// firstHour is what newcomers type. Alice creates a mesh and bob joins it. A command with an
// exit code other than 0, or with a question, is a mistake.
var firstHour = []entry{
	{who: "alice", types: "bin/claudemesh creat team", code: 2, says: []string{"did you mean `bin/claudemesh create`?"}},
	{who: "alice", types: "bin/claudemesh create", code: 2, says: []string{"<slug> is missing", "bin/claudemesh create team"}},
	{who: "alice", types: "bin/claudemesh peers", code: 1, says: []string{"you have not joined a mesh", "bin/claudemesh create <slug>"}},
	{who: "alice", types: "bin/claudemesh create team --display-name alice", says: []string{"You are its owner, under the name alice", "bin/claudemesh invite"}},
	{who: "alice", types: "bin/claudemesh create team --display-name alice", code: 1, says: []string{"you already have a mesh with this slug", "bin/claudemesh forget"}},
	{who: "alice", types: "bin/claudemesh invite", says: []string{"only works on this machine"}},
	{who: "alice", types: "bin/claudemesh join '<link>'", code: 1, says: []string{"you have already joined the mesh team", "the invite is still unused"}},

	{who: "bob", types: "bin/claudemesh join", code: 2, says: []string{"is missing", "--name bob"}},
	{who: "bob", types: "bin/claudemesh join http://127.0.0.1/i/nonsense", code: 2, says: []string{"which looks like https://host/i/"}},
	{
		who: "bob", types: "bin/claudemesh join '<link>' --name @all", code: 130,
		asks: "Another name: ", answer: "\x03", says: []string{"can't begin with @"},
	},
	{
		who: "bob", types: "bin/claudemesh join '<link>' --name alice", asks: "Another name: ", answer: "bob\r",
		says: []string{"the same as, or looks like", "Joined the mesh team as bob", "bin/claudemesh inbox --follow"},
	},
	{who: "bob", types: "bin/claudemesh send alice", code: 2, says: []string{"is missing", "bin/claudemesh send bob"}},
	{who: "bob", types: "bin/claudemesh snd alice hello", code: 2, says: []string{"did you mean `bin/claudemesh send`?"}},
	{who: "bob", types: "bin/claudemesh send alcie hello", code: 1, says: []string{`did you mean "alice"?`, "nothing was sent"}},
	{who: "bob", types: "bin/claudemesh send @alice hello", code: 1, says: []string{`did you mean "alice"?`, "nothing was sent"}},
	{who: "bob", types: "bin/claudemesh send @nogroup hello", code: 1, says: []string{"there is no group @nogroup"}},
	{who: "bob", types: "bin/claudemesh send alice -", code: 130, says: []string{"nothing was sent"}, asks: "Ctrl-D", answer: "\x03"},
	{who: "bob", types: "bin/claudemesh send ALICE hello world", says: []string{"queued for alice"}},

	{who: "alice", types: "bin/claudemesh inbox --josn", code: 2, says: []string{"did you mean --json?"}},
	{who: "alice", types: "bin/claudemesh inbox show 12345678", code: 1, says: []string{"no such message"}},
	{who: "alice", types: "bin/claudemesh inbox", says: []string{"bob: hello world"}},
	{who: "alice", types: "bin/claudemesh reply <id> thank you", says: []string{"queued for bob"}},
	{who: "bob", types: "bin/claudemesh inbox", says: []string{"alice", "thank you"}},
	{who: "bob", types: "bin/claudemesh status 1234567", code: 2, says: []string{"too short for the id of a message"}},
	{who: "bob", types: "bin/claudemesh status set idle", code: 2, says: []string{"set_status"}},
	{who: "bob", types: "bin/claudemesh list", code: 2, says: []string{"`bin/claudemesh peers`"}},
	{who: "bob", types: "bin/claudemesh help bogus", code: 2, says: []string{`"claudemesh bogus"`}},
	{who: "bob", types: "bin/claudemesh members --json=yes", code: 2, says: []string{"--json takes no value"}},
	{who: "bob", types: "bin/claudemesh launch", code: 1, says: []string{"claude is not on the PATH"}},
	{who: "alice", types: "bin/claudemesh verify bob", says: []string{"Safety number", "--confirm"}},
	{who: "alice", types: "bin/claudemesh grant bob read write", code: 2, says: []string{`"write" isn't a capability`}},
	{who: "alice", types: "bin/claudemesh remove bob", code: 1, says: []string{"nothing was changed"}, asks: "yes", answer: "no\r"},
	{who: "alice", types: "bin/claudemesh audit", says: []string{"alice (you) created the mesh team", "bob joined"}},
	{who: "alice", types: "bin/claudemesh doctor", says: []string{"round trip"}},
}

// TestFirstHour plays the first hour of newcomers, in terminals with empty homes and in a
// copy of the sources, which make run builds.
func TestFirstHour(t *testing.T) {
	t.Parallel()
	h := &hour{t: t, checkout: copyCheckout(t), port: strconv.Itoa(freePort(t)), shells: map[string]*shell{}}
	broker := h.shell("operator")
	broker.types("make run\r")
	await.UntilBuilt(t, "the broker runs or make has failed", func() bool {
		screen := broker.screen()
		return strings.Contains(screen, "Ctrl-C stops the broker.") || strings.Count(screen, "operator [") > 1
	}, broker.screen)
	broker.awaits("Ctrl-C stops the broker.")
	h.note(broker, broker.screen())
	for _, e := range firstHour {
		h.enter(e)
	}
	if path := os.Getenv(transcriptVariable); path != "" {
		if err := os.WriteFile(path, []byte(h.transcript.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// hour is the state that the people of a first hour share.
type hour struct {
	t          *testing.T
	checkout   string
	port       string
	shells     map[string]*shell
	link, id   string
	transcript strings.Builder
}

// shell is a person's terminal with a shell in it.
type shell struct {
	*terminal
	prompt *regexp.Regexp
	noted  int // how much of the screen is in the transcript
}

// shell returns a person's terminal. It opens the terminal on first use.
func (h *hour) shell(who string) *shell {
	h.t.Helper()
	if s := h.shells[who]; s != nil {
		return s
	}
	home := shortTempDir(h.t)
	cmd := exec.Command("sh", "-i")
	cmd.Dir = h.checkout
	cmd.Env = append(homeEnv(home), goEnv(h.t)...)
	cmd.Env = append(cmd.Env, "TERM=xterm-256color", "LANG=C.UTF-8", "PS1="+who+" [$?] $ ", "BROKER_PORT="+h.port,
		"CADDY_ADMIN=unix/"+filepath.Join(home, "admin.sock"), "CLAUDEMESH_BROKER_URL=ws://127.0.0.1:"+h.port+"/ws")
	s := &shell{
		terminal: openTerminal(h.t, cmd, &pty.Winsize{Rows: 50, Cols: 100}),
		prompt:   regexp.MustCompile(regexp.QuoteMeta(who) + ` \[(\d+)\] \$ $`),
	}
	h.shells[who] = s
	await.Until(h.t, who+" has a prompt", func() bool { return s.prompt.MatchString(s.screen()) }, s.screen)
	return s
}

var (
	escapes   = regexp.MustCompile("\x1b(\\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9]|[=>])")
	shownLink = regexp.MustCompile(`http://127\.0\.0\.1:\d+/i/[^\s']+`)
	shownID   = regexp.MustCompile(`\b[0-9a-f]{8}\b`)
)

// enter types a line and waits for the next prompt.
func (h *hour) enter(e entry) {
	h.t.Helper()
	s := h.shell(e.who)
	s.types(strings.NewReplacer("<link>", h.link, "<id>", h.id).Replace(e.types) + "\r")
	if e.asks != "" {
		await.Until(h.t, e.types+" asks "+e.asks, func() bool { return strings.Contains(s.screen()[s.noted:], e.asks) }, s.screen)
		s.types(e.answer)
	}
	var end []string
	var screen string
	await.Until(h.t, e.who+" has a prompt after "+e.types, func() bool {
		screen = s.screen()
		end = s.prompt.FindStringSubmatch(screen[s.noted:])
		return end != nil && strings.Count(screen[s.noted:], e.who+" [") > 1
	}, s.screen)
	shown := h.note(s, screen)
	if end[1] != strconv.Itoa(e.code) {
		h.t.Errorf("exit code %s, want %d:\n%s", end[1], e.code, shown)
	}
	for _, want := range e.says {
		if _, answer, _ := strings.Cut(shown, "\n"); !strings.Contains(answer, want) {
			h.t.Errorf("the output doesn't contain %q:\n%s", want, shown)
		}
	}
	if links := shownLink.FindAllString(shown, -1); links != nil {
		h.link = links[len(links)-1]
	}
	if ids := shownID.FindAllString(shown, -1); ids != nil {
		h.id = ids[len(ids)-1]
	}
}

// note adds the new text on a screen to the transcript and returns it. It leaves the prompt
// at the end for the next call.
func (h *hour) note(s *shell, screen string) string {
	end := len(screen)
	if at := s.prompt.FindStringIndex(screen); at != nil {
		end = at[0]
	}
	shown := escapes.ReplaceAllString(screen[s.noted:end], "")
	s.noted = end
	h.transcript.WriteString(shown)
	return shown
}
