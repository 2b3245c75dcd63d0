package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/claudecode/plugin"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// hook measures the process of a hook, which Claude Code starts at every tool call, and compares
// it with a Go program that prints a line. It also measures the hook including the shell that
// starts it. The time of the daemon that answers the hook doesn't count. The programs take
// turns, since the machine's speed drifts.
func (l *lab) hook(s *stage) {
	l.typed("hook", "claudemesh-hook")
	home := harness.ShortTempDir(s)
	program := func(name, pkg, dir string) string {
		path := filepath.Join(home, name)
		build := exec.CommandContext(s.ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, pkg) // like make build
		build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		s.check("build "+name+": "+string(out), err)
		return path
	}
	small := program("claudemesh-hook", "./cmd/claudemesh-hook", repository)
	line := program("line", "./line", ".")
	env := append(harness.HomeEnv(home), "CLAUDE_PID="+strconv.Itoa(os.Getpid()))
	up := exec.CommandContext(s.ctx, l.commands.Claudemesh, "daemon", "up")
	up.Env = env
	out, err := up.CombinedOutput()
	s.check("start a daemon: "+string(out), err)
	s.Cleanup(func() {
		down := exec.Command(l.commands.Claudemesh, "daemon", "down")
		down.Env = env
		_ = down.Run() // ignore the error: the stage ends anyway
	})
	session := uuid.NewString()
	event := func(name string) string {
		return fmt.Sprintf(`{"hook_event_name":%q,"session_id":%q,"cwd":"/","tool_name":"Bash","tool_use_id":"toolu_1"}`, name, session)
	}
	run := func(input string, path string, args ...string) (cpu, wall float64) {
		cmd := exec.CommandContext(s.ctx, path, args...)
		cmd.Env, cmd.Stdin = env, strings.NewReader(input)
		begun := time.Now()
		s.check("run "+filepath.Base(path), cmd.Run())
		wall = millis(time.Since(begun))
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		return millis(time.Duration(usage.Utime.Nano() + usage.Stime.Nano())), wall
	}
	command := plugin.ShellCommand(peer.Dir(filepath.Join(home, ".claudemesh")), small, l.commands.Claudemesh)
	run(event("SessionStart"), small, l.commands.Claudemesh)
	var cpus, walls, shells, ratios []float64
	for range short(l, 101, 11) {
		lineCPU, _ := run("", line)
		cpu, _ := run(event("PostToolUse"), small, l.commands.Claudemesh)
		shell, wall := run(event("PostToolUse"), "/bin/sh", "-c", command)
		cpus, shells, walls = append(cpus, cpu), append(shells, shell), append(walls, wall)
		if lineCPU > 0 {
			ratios = append(ratios, cpu/lineCPU)
		}
	}
	for name, values := range map[string][]float64{"cpu": cpus, "shell": shells, "wall": walls, "ratio": ratios} {
		if found, ok := spreadOf(values); ok { // without the clock's resolution, there are no ratios
			l.add("hook/"+name, found.Median)
		}
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
