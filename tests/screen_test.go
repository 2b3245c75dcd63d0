package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/clipperhouse/displaywidth"

	"github.com/claudemesh/claudemesh/internal/await"
)

// pane is a terminal with one command, in its own tmux server.
type pane struct {
	t      *testing.T
	socket string
	last   string
}

// open starts a command in a terminal of the given size.
func (p *person) open(columns, rows int, args ...string) *pane {
	p.t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		p.t.Skip("this test needs tmux as its terminal")
	}
	dir, err := os.MkdirTemp("", "cm-pane-")
	if err != nil {
		p.t.Fatal(err)
	}
	t, ok := p.t.(*testing.T)
	if !ok {
		p.t.Fatal("open needs a *testing.T")
	}
	pn := &pane{t: t, socket: filepath.Join(dir, "socket")}
	words := append([]string{"env", "-i"}, p.env...)
	words = append(words, "TERM=tmux-256color", "LANG=C.UTF-8", commands.Claudemesh)
	var line strings.Builder
	for _, w := range append(words, args...) {
		line.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "' ")
	}
	// Keep the screen after the command ends, and show its exit code.
	script := "cd '" + filepath.Dir(p.dir) + "'; sh -c 'echo $$ >" + dir + "/pid; exec \"$@\"' sh " + line.String() + "; echo ended with $?; exec sleep 100000"
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v shows\n%s", args, pn.last)
		}
		_ = pn.tmux("kill-server").Run() // only the server on our own socket
		os.RemoveAll(dir)
	})
	cmd := pn.tmux("-f", "/dev/null", "new-session", "-d", "-s", "c", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows), script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	return pn
}

func (pn *pane) tmux(args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-S", pn.socket}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(pn.socket), "TERM=xterm-256color", "LANG=C.UTF-8", "SHELL=/bin/sh"}
	return cmd
}

// screen returns the visible text.
func (pn *pane) screen() string {
	out, err := pn.tmux("capture-pane", "-p", "-t", "c").Output()
	if err == nil {
		pn.last = string(out)
	}
	return pn.last
}

// shows waits until all of these texts are visible.
func (pn *pane) shows(what ...string) {
	pn.t.Helper()
	await.Until(pn.t, "the screen shows "+strings.Join(what, ", "), func() bool {
		screen := pn.screen()
		for _, w := range what {
			if !strings.Contains(screen, w) {
				return false
			}
		}
		return true
	})
}

// hides waits until a text is not visible anymore.
func (pn *pane) hides(what string) {
	pn.t.Helper()
	await.Until(pn.t, "the screen hides "+what, func() bool { return !strings.Contains(pn.screen(), what) })
}

func (pn *pane) press(keys ...string) {
	pn.t.Helper()
	if out, err := pn.tmux(append([]string{"send-keys", "-t", "c"}, keys...)...).CombinedOutput(); err != nil {
		pn.t.Errorf("tmux send-keys %q: %v\n%s", keys, err, out)
	}
}

// signal sends the command a signal.
func (pn *pane) signal(s os.Signal) {
	pn.t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(pn.socket), "pid"))
	if err != nil {
		pn.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		pn.t.Fatal(err)
	}
	process, err := os.FindProcess(pid)
	if err == nil {
		err = process.Signal(s)
	}
	if err != nil {
		pn.t.Fatal(err)
	}
}

// resize changes the size of the terminal.
func (pn *pane) resize(columns, rows int) {
	pn.t.Helper()
	if out, err := pn.tmux("resize-window", "-t", "c", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows)).CombinedOutput(); err != nil {
		pn.t.Errorf("tmux resize-window: %v\n%s", err, out)
	}
}

// TestScreen runs the interactive commands in a terminal.
func TestScreen(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for name, test := range map[string]func(*testing.T, *server){"tables": tablesFit, "top": topLives, "watch": watchPeers} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
	t.Run("top without its broker", func(t *testing.T) {
		t.Parallel()
		topWaits(t)
	})
	t.Run("top is told to end", func(t *testing.T) {
		t.Parallel()
		topEnds(t, s)
	})
}

// tablesFit checks that columns align, whatever they contain, and that each row fits on one
// line of the terminal.
func tablesFit(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	link := alice.invite("--uses", "3")
	for _, name := range []string{"田中さん", "🦊 ann", "a name that goes on and on, as names of machines do, for longer than any line has room"} {
		newPerson(t, s).must("join", link, "--name", name)
	}
	pn := alice.open(80, 24, "members")
	pn.shows("ended with 0")
	var at []int
	lines := strings.Split(pn.screen(), "\n")
	for _, line := range lines[:5] {
		key := strings.Index(line, "proven")
		if key < 0 {
			key = strings.Index(line, "TRUST")
		}
		if key < 0 {
			t.Fatalf("no row of the table: %q in\n%s", line, pn.last)
		}
		at = append(at, displaywidth.String(line[:key]))
	}
	for _, column := range at {
		if column != at[0] {
			t.Errorf("the third column begins at %v:\n%s", at, pn.last)
		}
	}
	if !strings.Contains(pn.last, "…") || !strings.Contains(lines[5], "ended with") {
		t.Errorf("a long name is not cut to one line:\n%s", pn.last)
	}
	if out := alice.must("members"); strings.Contains(out, "…") || !strings.Contains(out, "than any line has room") {
		t.Errorf("truncated although the output isn't a terminal:\n%s", out)
	}
	narrow := *alice
	narrow.env = append(append([]string{}, alice.env...), "COLUMNS=40")
	pn = narrow.open(80, 24, "members")
	pn.shows("ended with 0")
	for line := range strings.Lines(pn.last) {
		if n := displaywidth.String(strings.TrimRight(line, "\n")); n > 40 {
			t.Errorf("%d columns of 40: %q", n, line)
		}
	}
	coloured := func(p *person) string {
		pn := p.open(80, 24, "members")
		pn.shows("ended with 0")
		out, err := pn.tmux("capture-pane", "-e", "-p", "-t", "c").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if out := coloured(alice); !strings.Contains(out, "\x1b[1mNAME") {
		t.Errorf("got no colors: %q", out)
	}
	plain := *alice
	plain.env = append(append([]string{}, alice.env...), "NO_COLOR=1")
	if out := coloured(&plain); strings.Contains(out, "\x1b[") {
		t.Errorf("got colors despite NO_COLOR: %q", out)
	}
}

func topLives(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite("--groups", "ops"), "--name", "bob")
	pn := alice.open(80, 24, "top")
	pn.shows("claudemesh · team", "connected", "0 here", "Nobody is here", "0 sent/min", "0 unread", "q quit")
	inbox := bob.start("inbox", "--follow")
	pn.shows("1 here", "bob", "proven", "idle")
	bob.must("send", "alice", "are you there?")
	alice.must("inbox", "--limit", "0")
	pn.shows("are you there?", "1 in 1 h", "1 sent/min")
	pn.press("?")
	pn.shows("scroll by a line")
	pn.hides("proven")
	pn.press("x")
	pn.shows("proven")
	inbox.stop()
	pn.shows("0 here")
	pn.press("a")
	pn.shows("away")
	pn.resize(50, 12)
	pn.shows("lines 1-8 of")
	pn.press("End")
	pn.shows("are you the")
	pn.press("Home")
	pn.shows("Peers (")
	pn.press("q")
	pn.shows("ended with 0")
}

func topWaits(t *testing.T) {
	s := startServer(t)
	alice := newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	s.Stop()
	pn := alice.open(80, 24, "top")
	pn.shows("NOT CONNECTED: broker unreachable")
	s.Start()
	pn.shows("Nobody is here")
	pn.hides("NOT CONNECTED")
	s.Stop()
	pn.shows("NOT CONNECTED, last update ")
	pn.press("C-c")
	pn.shows("ended with 0")
}

// topEnds checks that a signal ends top and that top restores the terminal.
func topEnds(t *testing.T, s *server) {
	alice := newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		pn := alice.open(80, 24, "top")
		pn.shows("Nobody is here", "q quit")
		pn.signal(signal)
		pn.shows("ended with 0")
		pn.hides("q quit")
	}
}

func watchPeers(t *testing.T, s *server) {
	alice, bob := newPerson(t, s), newPerson(t, s)
	alice.must("create", "team", "--display-name", "alice")
	bob.must("join", alice.invite(), "--name", "bob")
	pn := alice.open(80, 24, "peers", "--watch")
	pn.shows("Peers (0)")
	lines := alice.start("peers", "--watch")
	inbox := bob.start("inbox", "--follow")
	pn.shows("Peers (1)", "bob", "idle")
	if line := lines.line(); !strings.HasSuffix(line, " bob is idle") {
		t.Errorf("got %q", line)
	}
	inbox.stop()
	pn.shows("Peers (0)")
	if line := lines.line(); !strings.HasSuffix(line, " bob has left") {
		t.Errorf("got %q", line)
	}
	pn.press("C-c")
	pn.shows("ended with 0")
}
