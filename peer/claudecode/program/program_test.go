package program

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestConfigDir(t *testing.T) {
	t.Setenv("HOME", "/home/x")
	t.Setenv("CLAUDE_CONFIG_DIR", "")
	if dir, err := ConfigDir(); dir != "/home/x/.claude" || err != nil {
		t.Errorf("got %s, %v", dir, err)
	}
	t.Setenv("CLAUDE_CONFIG_DIR", "relative")
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if dir, err := ConfigDir(); dir != filepath.Join(cwd, "relative") || err != nil {
		t.Errorf("got %s, %v", dir, err)
	}
	t.Setenv("CLAUDE_CONFIG_DIR", "")
	t.Setenv("HOME", "")
	if dir, err := ConfigDir(); err == nil {
		t.Errorf("without a home: %s", dir)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	claude := filepath.Join(dir, "claude")
	t.Setenv("PATH", dir)
	t.Setenv(binaryVariable, "")
	var missing *NotFoundError
	if path, err := Find(); !errors.As(err, &missing) || !strings.Contains(err.Error(), "install Claude Code") {
		t.Errorf("not installed: got %s, %v", path, err)
	}
	if err := os.WriteFile(claude, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if path, err := Find(); path != claude || err != nil {
		t.Errorf("on the PATH: %s, %v", path, err)
	}
	t.Setenv(binaryVariable, filepath.Join(dir, "none"))
	if path, err := Find(); !errors.As(err, &missing) || !strings.Contains(err.Error(), binaryVariable) {
		t.Errorf("a given program that doesn't exist: got %s, %v", path, err)
	}
	t.Setenv("PATH", "")
	t.Setenv(binaryVariable, claude)
	if path, err := Find(); path != claude || err != nil {
		t.Errorf("given: %s, %v", path, err)
	}
	// A claude that is this program would start itself forever.
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	t.Setenv(binaryVariable, link)
	if path, err := Find(); !errors.Is(err, errSelf) {
		t.Errorf("this program itself: got %s, %v", path, err)
	}
	t.Setenv(binaryVariable, "")
	t.Setenv("PATH", filepath.Join(dir, "links"))
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "links"), 0o700), os.Symlink(own, filepath.Join(dir, "links", "claude"))); err != nil {
		t.Fatal(err)
	}
	if path, err := Find(); !errors.Is(err, errSelf) || strings.Contains(err.Error(), "value of") || !strings.Contains(err.Error(), "is claudemesh itself") {
		t.Errorf("this program itself, on the PATH: got %s, %v", path, err)
	}
}

func TestCleanEnv(t *testing.T) {
	t.Parallel()
	kept := []string{
		"PATH=/bin", "CLAUDE_CONFIG_DIR=/c", "CLAUDE_CODE_USE_BEDROCK=1", "ANTHROPIC_API_KEY=k", "AI_AGENT=other", "CLAUDEMESH_NAME=x",
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "EMPTY=", "odd", "=C:=x",
	}
	env := slices.Concat(kept, []string{
		"CLAUDECODE=1", "CLAUDE_CODE_SESSION_ID=x", "CLAUDE_CODE_CHILD_SESSION=1", "CLAUDE_CODE_ENTRYPOINT=cli", "CLAUDE_PID=7",
		"CLAUDE_PROJECT_DIR=/p", "CLAUDE_CODE_MESSAGING_SOCKET=/s", "CLAUDE_CODE_MESSAGING_TOKEN=t", "CLAUDE_ENV_FILE=/e",
		"CLAUDE_PLUGIN_ROOT=/r", "CLAUDE_PLUGIN_DATA=/d", "AI_AGENT=claude-code_2-1-330_agent", "CLAUDE_EFFORT=high", "CLAUDE_CODE_SESSION_ATTENDED=1",
	})
	if got := CleanEnv(env); !slices.Equal(got, kept) {
		t.Errorf("got %q", got)
	}
}
