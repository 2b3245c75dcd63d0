package main

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"time"
)

// prompt is a prompt that starts a turn.
type prompt struct {
	seen string // the text for the hooks
	api  string // the text for the model
}

func human(s string) prompt { return prompt{seen: s, api: s} }

// turn is a prompt and everything that follows until the model stops.
type turn struct {
	*app
	ctx    context.Context
	cancel context.CancelFunc
	failed bool
}

func newTurn(a *app) *turn {
	t := &turn{app: a}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// run runs the turn and returns the model's last text.
func (t *turn) run(p prompt) (last string) {
	defer t.cancel()
	defer t.keep()
	t.promptID = newUUID()
	show("❯ %s\n", p.seen)
	outcomes := t.fire("UserPromptSubmit", "", map[string]any{"prompt": p.seen})
	contexts := t.app.context
	t.app.context = nil
	for _, out := range outcomes {
		switch {
		case out.blocked:
			show("blocked: %s\n", out.block)
			return ""
		case out.context != "":
			contexts = append(contexts, "UserPromptSubmit hook additional context: "+out.context)
		case out.plain != "":
			contexts = append(contexts, "UserPromptSubmit hook success: "+out.plain)
		}
	}
	<-t.ready // the first request includes the MCP servers' instructions
	if len(t.s.messages) == 0 {
		contexts = append(t.introduction(), contexts...)
	}
	t.s.add(message{Role: "user", Content: []block{text(p.api)}})
	t.inject(contexts)
	return t.converse()
}

// keep appends new messages to the transcript.
func (t *turn) keep() {
	if err := t.s.save(); err != nil {
		show("transcript: %v\n", err)
	}
}

// introduction returns what the harness tells the model at the start of a conversation.
func (t *turn) introduction() []string {
	said := []string{"# Environment\n - Primary working directory: " + t.s.cwd}
	for _, s := range t.servers {
		var names []string
		for _, tool := range s.tools {
			names = append(names, "mcp__"+s.name+"__"+tool)
		}
		said = append(said, "The following deferred tools are now available via ToolSearch.\n"+strings.Join(names, "\n"))
		if s.instructions != "" {
			said = append(said, "# MCP Server Instructions\n\n## "+s.name+"\n"+s.instructions)
		}
	}
	return said
}

// inject adds the hooks' context to the conversation, in the role system.
func (t *turn) inject(contexts []string) {
	if len(contexts) > 0 {
		t.s.add(message{Role: "system", Content: []block{text(strings.Join(contexts, "\n\n"))}})
	}
}

// converse exchanges messages with the model until it stops.
func (t *turn) converse() (last string) {
	stopped := false // whether a Stop hook has made the model continue
	for {
		t.keep()
		answer, err := t.ask(t.ctx, t.s.messages, builtin)
		switch {
		case t.ctx.Err() != nil:
			t.interrupted(answer)
			return last
		case err != nil:
			show("%v\n", err)
			t.failed = true
			t.fire("StopFailure", "unknown", map[string]any{"error": "unknown", "last_assistant_message": err.Error()})
			return err.Error()
		}
		t.s.add(answer)
		var calls []block
		for _, b := range answer.Content {
			if b.Type == "tool_use" {
				calls = append(calls, b)
			} else {
				last = b.Text
				show("● %s\n", b.Text)
			}
		}
		if len(calls) > 0 {
			if !t.useTools(calls) {
				return last
			}
			continue
		}
		if !t.stop(last, stopped) {
			return last
		}
		stopped = true
	}
}

// stop runs the Stop hooks. It returns true if one of them makes the model continue.
func (t *turn) stop(last string, active bool) bool {
	goOn := false
	for _, out := range t.fire("Stop", "", map[string]any{
		"stop_hook_active": active, "last_assistant_message": last, "background_tasks": []any{}, "session_crons": []any{},
	}) {
		switch {
		case out.blocked:
			t.s.add(message{Role: "user", Content: []block{text("Stop hook feedback:\n" + out.block)}})
		case out.context != "":
			t.s.add(message{Role: "user", Content: []block{text("<system-reminder>\nStop hook additional context: " + out.context + "\n</system-reminder>")}})
		default:
			continue
		}
		goOn = true
	}
	return goOn && !active
}

// interrupted records that the user has interrupted the model. It runs no hook.
func (t *turn) interrupted(partial message) {
	if len(partial.Content) > 0 && partial.Content[0].Text != "" {
		t.s.add(message{Role: "assistant", Content: []block{text(partial.Content[0].Text)}})
	}
	t.s.add(message{Role: "user", Content: []block{text("[Request interrupted by user]")}})
	show("Interrupted\n")
}

// useTools runs the tools that the model calls and adds the results. It returns false if the user
// interrupts.
func (t *turn) useTools(calls []block) bool {
	results := message{Role: "user"}
	var contexts []string
	interrupted := false
	var batch []any
	for _, call := range calls {
		result := block{Type: "tool_result", ToolUseID: call.ID}
		if interrupted {
			result.Content, result.IsError = []block{text("[Request interrupted by user for tool use]")}, true
		} else {
			said, failed, more, ok := t.useTool(call)
			result.Content, result.IsError, interrupted = []block{text(said)}, failed, !ok
			contexts = append(contexts, more...)
			batch = append(batch, map[string]any{"tool_name": call.Name, "tool_input": call.Input, "tool_use_id": call.ID})
		}
		results.Content = append(results.Content, result)
	}
	if interrupted {
		results.Content = append(results.Content, text("[Request interrupted by user for tool use]"))
		t.s.add(results)
		show("Interrupted\n")
		return false
	}
	outcomes, finished := t.fireUnlessStopped("PostToolBatch", "", map[string]any{"tool_calls": batch})
	if !finished { // the conversation already has the results
		t.s.add(results)
		show("Interrupted\n")
		return false
	}
	for _, out := range outcomes {
		if out.context != "" {
			contexts = append(contexts, "PostToolBatch hook additional context: "+out.context)
		}
	}
	for _, n := range t.takeNotes() {
		contexts = append(contexts, notice(n))
	}
	t.s.add(results)
	t.inject(contexts)
	return true
}

// rejected is the result of a tool that the user interrupts or refuses.
const rejected = "The user doesn't want to proceed with this tool use. The tool use was rejected."

// fireUnlessStopped is fire, but it returns when the user interrupts. The hooks keep running.
func (t *turn) fireUnlessStopped(event, match string, fields map[string]any) (outcomes []outcome, finished bool) {
	done := make(chan []outcome, 1)
	go func() { done <- t.fire(event, match, fields) }() // ends with the hooks, which have a time limit
	select {
	case outcomes = <-done:
		return outcomes, true
	case <-t.ctx.Done():
		return nil, false
	}
}

// useTool runs one tool, with hooks and permission. contexts is for the model; ok is false if the
// user interrupts.
func (t *turn) useTool(call block) (said string, failed bool, contexts []string, ok bool) {
	if len(call.Input) == 0 {
		call.Input = json.RawMessage("{}")
	}
	show("● %s %s\n", call.Name, call.Input)
	fields := map[string]any{"tool_name": call.Name, "tool_input": call.Input, "tool_use_id": call.ID}
	outcomes, finished := t.fireUnlessStopped("PreToolUse", call.Name, fields)
	if !finished {
		return rejected, true, nil, false
	}
	for _, out := range outcomes {
		if out.blocked {
			return "PreToolUse hook blocking error: " + out.block, true, nil, true
		}
		if out.context != "" {
			contexts = append(contexts, "PreToolUse:"+call.Name+" hook additional context: "+out.context)
		}
	}
	if t.o.asks(call.Name) && !t.permitted(call, fields) {
		return rejected, true, contexts, false
	}
	began := time.Now()
	said, failed = t.perform(call)
	if t.ctx.Err() != nil {
		return rejected, true, contexts, false
	}
	fields["tool_response"], fields["duration_ms"] = []block{text(said)}, time.Since(began).Milliseconds()
	outcomes, finished = t.fireUnlessStopped("PostToolUse", call.Name, fields)
	if !finished {
		return rejected, true, contexts, false // even if the tool has answered
	}
	for _, out := range outcomes {
		switch {
		case out.blocked:
			contexts = append(contexts, "PostToolUse:"+call.Name+" hook blocking error: "+out.block)
		case out.context != "":
			contexts = append(contexts, "PostToolUse:"+call.Name+" hook additional context: "+out.context)
		}
	}
	return said, failed, contexts, true
}

// permitted asks the user for permission.
func (t *turn) permitted(call block, fields map[string]any) bool {
	if t.o.print {
		return false // no user to ask
	}
	t.fire("PermissionRequest", call.Name, map[string]any{
		"tool_name": call.Name, "tool_input": fields["tool_input"], "permission_suggestions": []any{},
	})
	answer := make(chan bool, 1)
	t.events <- asked{answer}
	later := time.AfterFunc(permissionDelay, func() {
		t.fire("Notification", "permission_prompt", map[string]any{"notification_type": "permission_prompt", "message": "Claude needs your permission"})
	})
	defer later.Stop()
	return <-answer
}

// perform executes a tool.
func (t *turn) perform(call block) (said string, failed bool) {
	if call.Name == "Bash" {
		return t.bash(call.Input)
	}
	if !strings.HasPrefix(call.Name, "mcp__") {
		return "No such tool available: " + call.Name, true
	}
	for _, s := range t.servers {
		if tool, ok := strings.CutPrefix(call.Name, "mcp__"+s.name+"__"); ok {
			type result struct {
				said   string
				failed bool
			}
			answer := make(chan result, 1)
			go func() { // ends with the answer, with the server, or after callPatience
				said, failed := s.use(tool, call.ID, call.Input)
				answer <- result{said, failed}
			}()
			select {
			case r := <-answer:
				return r.said, r.failed
			case <-t.ctx.Done():
				return "", true
			}
		}
	}
	return "No such tool available: " + call.Name, true
}

func (t *turn) bash(input json.RawMessage) (said string, failed bool) {
	var in struct {
		Command string `json:"command"`
	}
	if err := json.Unmarshal(input, &in); err != nil {
		return err.Error(), true
	}
	cmd := exec.CommandContext(t.ctx, "/bin/sh", "-c", in.Command)
	cmd.Dir, cmd.Env = t.s.cwd, t.childEnv("agent")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err.Error(), true
	}
	return string(out), err != nil
}
