package claude

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/tests/internal/messages"
)

const (
	poll = 20 * time.Millisecond
	// apiKey is a fake key for the mock.
	apiKey = "test-key-not-real"
)

// SecondConfig is the name of a directory in a home that a session may use as its
// CLAUDE_CONFIG_DIR.
const SecondConfig = ".claude-second"

// Home is a user of a machine: a home directory and the environment of the user's terminals, with
// claude on the PATH.
type Home struct {
	Dir     string // HOME
	Project string // a folder that the user trusts
	Env     []string
	API     *messages.Server
	// Columns and Rows are the size of the terminals, if the program uses terminals.
	Columns, Rows int

	program Program
}

// NewHome creates a user whose Claude Code uses this mock of the API. bin lists further directories
// for the PATH.
func NewHome(t testing.TB, program Program, api *messages.Server, bin ...string) *Home {
	t.Helper()
	dir, err := os.MkdirTemp("", "cm-home-") // short, because it contains sockets
	if err != nil {
		t.Fatal(err)
	}
	h := &Home{Dir: dir, Project: filepath.Join(dir, "project"), API: api, Columns: 140, Rows: 50, program: program}
	t.Cleanup(func() {
		h.endRest(t)
		os.RemoveAll(dir)
	})
	for _, d := range []string{h.Project, filepath.Join(dir, "bin"), filepath.Join(dir, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(program.Path, filepath.Join(dir, "bin", "claude")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bin")
	for _, d := range append(bin, "/usr/local/bin", "/usr/bin", "/bin") {
		path += ":" + d
	}
	h.Env = []string{
		"PATH=" + path, "HOME=" + dir, "TMPDIR=" + filepath.Join(dir, "tmp"), "TERM=xterm-256color", "LANG=C.UTF-8", "SHELL=/bin/sh",
		"GORACE=atexit_sleep_ms=0", // else every hook takes another second
		"ANTHROPIC_BASE_URL=" + api.URL, "ANTHROPIC_API_KEY=" + apiKey,
		"DISABLE_TELEMETRY=1", "DISABLE_AUTOUPDATER=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1",
		"CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL=1",
	}
	h.Trust(t, h.Project)
	return h
}

// Trust tells Claude Code that the user has completed the onboarding and trusts these folders.
func (h *Home) Trust(t testing.TB, folders ...string) {
	t.Helper()
	projects := make(map[string]any)
	for _, folder := range folders {
		projects[folder] = map[string]any{"hasTrustDialogAccepted": true}
	}
	b, err := json.Marshal(map[string]any{
		"hasCompletedOnboarding":  true,
		"hasSeenAutoDefaultNudge": true,
		"customApiKeyResponses":   map[string]any{"approved": []string{apiKey}, "rejected": []string{}},
		"projects":                projects,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.Dir, ".claude.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Command returns a command of the user, in the project folder.
func (h *Home) Command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = h.Project, h.Env
	if !filepath.IsAbs(argv[0]) {
		// Use the user's PATH, not ours.
		cmd.Path, cmd.Err = h.look(argv[0])
	}
	return cmd
}

func (h *Home) look(name string) (string, error) {
	for _, entry := range h.Env {
		if path, ok := strings.CutPrefix(entry, "PATH="); ok {
			for _, dir := range filepath.SplitList(path) {
				file := filepath.Join(dir, name)
				if info, err := os.Stat(file); err == nil && info.Mode()&0o111 != 0 && !info.IsDir() {
					return file, nil
				}
			}
		}
	}
	return name, fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// runLimit is the time limit for a command.
const runLimit = 2 * time.Minute

// Run runs a command without a terminal and waits until it exits.
func (h *Home) Run(t testing.TB, argv ...string) (stdout, stderr string, code int) {
	t.Helper()
	return h.RunWith(t, "", argv...)
}

// RunWith is Run with standard input.
func (h *Home) RunWith(t testing.TB, stdin string, argv ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := h.Command(argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	cmd.WaitDelay = 2 * time.Second // its child processes may keep its output open
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	overdue := time.AfterFunc(runLimit, func() {
		t.Errorf("%v has not ended after %s", argv, runLimit)
		_ = cmd.Process.Kill() // fails if it has just ended
	})
	defer overdue.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%v: %v", argv, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// Published is what Claude Code publishes about one of its processes.
type Published struct {
	PID             int    `json:"pid"`
	SessionID       string `json:"sessionId"`
	Cwd             string `json:"cwd"`
	ProcStart       string `json:"procStart"`
	Entrypoint      string `json:"entrypoint"`
	Status          string `json:"status"`
	WaitingFor      string `json:"waitingFor"`
	Name            string `json:"name"`
	NameSource      string `json:"nameSource"`
	StatusUpdatedAt int64  `json:"statusUpdatedAt"`
}

// Published reads what Claude Code publishes about a process. It returns false if there is nothing.
func (h *Home) Published(pid int) (Published, bool) {
	name := filepath.Join("sessions", fmt.Sprintf("%d.json", pid))
	b, err := os.ReadFile(filepath.Join(h.Dir, ".claude", name))
	if errors.Is(err, fs.ErrNotExist) {
		b, err = os.ReadFile(filepath.Join(h.Dir, SecondConfig, name))
	}
	var p Published
	if err != nil || json.Unmarshal(b, &p) != nil { // absent, or half written
		return p, false
	}
	return p, true
}
