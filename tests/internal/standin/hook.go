package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	hookTimeout       = 60 * time.Second
	sessionEndTimeout = 1500 * time.Millisecond // for a plugin's hook, whatever its timeout says
)

// hookGroup is an entry of hooks.json.
type hookGroup struct {
	Matcher string       `json:"matcher"`
	Hooks   []hookConfig `json:"hooks"`
}

type hookConfig struct {
	Type        string   `json:"type"`
	Command     string   `json:"command"`
	Args        []string `json:"args"` // if set, the hook runs without a shell
	Timeout     float64  `json:"timeout"`
	Async       bool     `json:"async"`
	AsyncRewake bool     `json:"asyncRewake"`
}

// outcome is the output of a hook.
type outcome struct {
	context string // for the model
	plain   string // standard output that isn't JSON
	block   string // why the hook blocks the event
	blocked bool
}

// fire runs the hooks of an event in parallel and waits for the synchronous ones. Their matchers
// apply to match.
func (a *app) fire(event, match string, fields map[string]any) []outcome {
	if hooksOff() {
		return nil
	}
	input := map[string]any{
		"session_id": a.s.id, "transcript_path": a.s.transcript, "cwd": a.s.cwd, "hook_event_name": event, "permission_mode": "default",
	}
	if a.promptID != "" {
		input["prompt_id"] = a.promptID
	}
	for name, value := range fields {
		input[name] = value
	}
	b, err := json.Marshal(input)
	if err != nil {
		panic(err) // can't happen: the fields come from JSON
	}
	var mu sync.Mutex
	var outcomes []outcome
	var running sync.WaitGroup
	for _, p := range a.plugins {
		for _, group := range p.hooks[event] {
			if !matches(group.Matcher, match) {
				continue
			}
			for _, hook := range group.Hooks {
				if hook.Async || hook.AsyncRewake {
					a.runAside(p, hook, event, match, b)
					continue
				}
				running.Go(func() {
					out := a.runHook(p, hook, event, b)
					mu.Lock()
					defer mu.Unlock()
					outcomes = append(outcomes, out)
				})
			}
		}
	}
	running.Wait()
	return outcomes
}

func matches(matcher, value string) bool {
	if matcher == "" || matcher == "*" {
		return true
	}
	ok, err := regexp.MatchString("^(?:"+matcher+")$", value)
	return err == nil && ok
}

// hookCommand returns the command of a hook without starting it.
func (a *app) hookCommand(ctx context.Context, p plugin, hook hookConfig, event string, input []byte) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", p.expand(hook.Command))
	if hook.Args != nil {
		var args []string
		for _, arg := range hook.Args {
			args = append(args, p.expand(arg))
		}
		cmd = exec.CommandContext(ctx, p.expand(hook.Command), args...)
	}
	cmd.Dir, cmd.Stdin = a.s.cwd, bytes.NewReader(input)
	cmd.Env = append(a.childEnv("harness"), "CLAUDE_PID="+fmt.Sprint(os.Getpid()), "CLAUDE_CODE_CHILD_SESSION=1", "CLAUDE_CODE_SESSION_ATTENDED=1")
	cmd.Env = append(cmd.Env, p.env()...)
	if event == "SessionStart" {
		cmd.Env = append(cmd.Env, "CLAUDE_ENV_FILE=/dev/null")
	}
	cmd.WaitDelay = 100 * time.Millisecond
	return cmd
}

// runHook runs a hook, waits until it ends, and reads its output.
func (a *app) runHook(p plugin, hook hookConfig, event string, input []byte) outcome {
	limit := hookTimeout
	if hook.Timeout > 0 {
		limit = time.Duration(hook.Timeout * float64(time.Second))
	}
	if event == "SessionEnd" && p.root != "" {
		limit = min(limit, sessionEndTimeout)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := a.hookCommand(ctx, p, hook, event, input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if ctx.Err() != nil {
		show("%s hook [%s] failed: Hook cancelled\n", event, hook.Command)
		return outcome{}
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		show("%s hook error: %s\n", event, errOut.String())
		return outcome{blocked: true, block: errOut.String()}
	case err != nil:
		show("%s hook [%s] failed: %v: %s\n", event, hook.Command, err, errOut.String())
		return outcome{}
	}
	return readOutcome(out.Bytes())
}

func readOutcome(out []byte) outcome {
	var answer struct {
		Decision string `json:"decision"`
		Reason   string `json:"reason"`
		Specific struct {
			Context string `json:"additionalContext"`
		} `json:"hookSpecificOutput"`
	}
	if trimmed := bytes.TrimSpace(out); len(trimmed) == 0 || trimmed[0] != '{' || json.Unmarshal(trimmed, &answer) != nil {
		return outcome{plain: strings.TrimSpace(string(out))}
	}
	return outcome{context: answer.Specific.Context, blocked: answer.Decision == "block", block: answer.Reason}
}

// runAside runs an asynchronous hook. If a hook with asyncRewake exits with code 2, its standard
// error starts a turn.
func (a *app) runAside(p plugin, hook hookConfig, event, match string, input []byte) {
	cmd := a.hookCommand(context.Background(), p, hook, event, input)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	if err := cmd.Start(); err != nil {
		show("%s hook [%s] failed: %v\n", event, hook.Command, err)
		return
	}
	a.aside.add(cmd.Process)
	go func() { // ends with the hook, which end stops with SIGTERM; the process doesn't wait for it
		err := cmd.Wait()
		a.aside.remove(cmd.Process)
		var exit *exec.ExitError
		if hook.AsyncRewake && errors.As(err, &exit) && exit.ExitCode() == 2 {
			a.events <- rewake{from: event + ":" + match, text: errOut.String()}
		}
	}()
}

// processes holds the processes that end with this one.
type processes struct {
	mu  sync.Mutex
	all map[*os.Process]bool
}

func (ps *processes) add(p *os.Process) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.all == nil {
		ps.all = make(map[*os.Process]bool)
	}
	ps.all[p] = true
}

func (ps *processes) remove(p *os.Process) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.all, p)
}

func (ps *processes) signal(sig syscall.Signal) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for p := range ps.all {
		_ = p.Signal(sig)
	}
}
