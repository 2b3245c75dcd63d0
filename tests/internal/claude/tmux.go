package claude

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
)

const (
	// settle is the pause that the prompt box needs between a text and Enter, and that a menu
	// of completions needs before it.
	settle     = 300 * time.Millisecond
	settleMenu = 700 * time.Millisecond
	// echoPatience is the time limit for typed text to appear. A prompt box that collapses the
	// text never shows it.
	echoPatience = 15 * time.Second
)

// tmux is the terminal of the real program: a tmux server for one process.
type tmux struct {
	t      testing.TB
	dir    string // the directory of its socket and files
	pid    int
	screen string // the last screen, kept after the server ends
}

// script starts the command as a child of the pane's shell, so that the screen survives the
// command. It first writes the process id that claude will have.
const script = `cd %s || exit 1
/bin/sh -c 'echo $$ >%s/pid.new && mv %s/pid.new %s/pid && exec "$@"' sh %s
echo $? >%s/exit.new && mv %s/exit.new %s/exit
exec sleep 100000
`

func openTmux(t testing.TB, h *Home, dir string, argv []string) *tmux {
	t.Helper()
	own, err := os.MkdirTemp("", "cm-tmux-")
	if err != nil {
		t.Fatal(err)
	}
	m := &tmux{t: t, dir: own}
	var words []string
	for _, word := range slices.Concat([]string{"env", "-i"}, h.Env, argv) {
		words = append(words, quote(word))
	}
	text := fmt.Sprintf(script, quote(dir), own, own, own, strings.Join(words, " "), own, own, own)
	if err := os.WriteFile(filepath.Join(own, "run"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := m.command("-f", "/dev/null", "new-session", "-d", "-s", "c", "-x", strconv.Itoa(h.Columns), "-y", strconv.Itoa(h.Rows), "/bin/sh "+own+"/run")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		_ = m.command("kill-server").Run() // only the server on our own socket
		os.RemoveAll(own)
	})
	await.Until(t, "the terminal is there", func() bool {
		m.pid, err = strconv.Atoi(strings.TrimSpace(readText(filepath.Join(own, "pid"))))
		return err == nil
	}, m.Screen)
	return m
}

// command returns a tmux command for this server, without the developer's environment.
func (m *tmux) command(args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-S", filepath.Join(m.dir, "socket")}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.dir, "TERM=xterm-256color", "LANG=C.UTF-8", "SHELL=/bin/sh"}
	return cmd
}

func (m *tmux) PID() int { return m.pid }

func (m *tmux) Screen() string {
	if out, err := m.command("capture-pane", "-p", "-S", "-200", "-t", "c").Output(); err == nil {
		m.screen = blank.ReplaceAllString(string(out), "\n")
	}
	return m.screen
}

func (m *tmux) Picture() string {
	out, err := m.command("capture-pane", "-e", "-p", "-t", "c").Output()
	if err != nil {
		m.t.Errorf("tmux capture-pane: %v", err)
	}
	return string(out)
}

// blank matches empty lines.
var blank = regexp.MustCompile(`\n(\s*\n)+`)

func (m *tmux) Exited() (code int, ended bool) {
	text := strings.TrimSpace(readText(filepath.Join(m.dir, "exit")))
	code, err := strconv.Atoi(text)
	return code, err == nil
}

func (m *tmux) text(text string) {
	before := m.shows(text)
	m.keys("-l", "--", text)
	// The prompt box takes an Enter directly after a text for a part of the text.
	for deadline := time.Now().Add(echoPatience); m.shows(text) == before && time.Now().Before(deadline); {
		<-time.After(poll)
	}
}

func (m *tmux) line(text string) {
	// Esc restores an unanswered prompt to the input: clear it.
	m.keys("C-u")
	m.text(text)
	if strings.HasPrefix(text, "/") {
		<-time.After(settleMenu)
	} else {
		<-time.After(settle)
	}
	m.keys("Enter")
}

// shows counts how often the end of a text is visible, with any line breaks.
func (m *tmux) shows(text string) int {
	const end = 20
	together := func(s string) string { return strings.Join(strings.Fields(s), "") }
	text = together(text)
	return strings.Count(together(m.Screen()), text[max(0, len(text)-end):])
}

func (m *tmux) dialog() bool { return strings.Contains(m.Screen(), "Do you want to") }

func (m *tmux) escape() { m.keys("Escape") }
func (m *tmux) enter()  { m.keys("Enter") }

func (m *tmux) keys(keys ...string) {
	m.t.Helper()
	if out, err := m.command(append([]string{"send-keys", "-t", "c"}, keys...)...).CombinedOutput(); err != nil {
		m.t.Errorf("tmux send-keys %q: %v\n%s", keys, err, out)
	}
}

// quote quotes a word for a shell.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
