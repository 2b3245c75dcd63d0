package hook

import (
	"reflect"
	"testing"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

func TestActivity(t *testing.T) {
	t.Parallel()
	const check = "mcp__plugin_claudemesh_mesh__check_messages"
	for _, tc := range []struct {
		name string
		e    Event
		want *local.Activity
	}{
		{"a prompt", Event{Name: userPromptSubmit, Prompt: "go on", Title: "t"}, &local.Activity{Status: wire.Working, Human: true, NewTurn: true, WantPointer: true, Title: "t"}},
		{"a notification as a prompt", Event{Name: userPromptSubmit, Prompt: "<task-notification>", Transcript: "/t"}, &local.Activity{Status: wire.Working, NewTurn: true, WantPointer: true, Transcript: "/t"}},
		{"before a tool", Event{Name: preToolUse, Tool: "Bash", ToolUse: "toolu_1"}, &local.Activity{Status: wire.Working, WantPointer: true}},
		{"before ours", Event{Name: preToolUse, Tool: check, ToolUse: "toolu_1"}, &local.Activity{Status: wire.Working}},
		{"after a tool", Event{Name: postToolUse, Tool: "Bash", ToolUse: "toolu_1"}, &local.Activity{Status: wire.Working, WantPointer: true}},
		{"after ours", Event{Name: postToolUse, Tool: check, ToolUse: "toolu_1"}, &local.Activity{Status: wire.Working, WantPointer: true}},
		{"after a batch", Event{Name: postToolBatch, Calls: uses{{check, "toolu_1"}, {"Bash", "toolu_2"}, {"mcp__mesh__check_messages", "toolu_3"}, {"x__check_messages", "toolu_4"}}},
			&local.Activity{Status: wire.Working, WantPointer: true, Ended: []string{"toolu_1", "toolu_3"}}},
		{"after a batch of others", Event{Name: postToolBatch, Calls: uses{{"Bash", "toolu_2"}}}, &local.Activity{Status: wire.Working, WantPointer: true}},
		{"asks for permission", Event{Name: permissionRequest, Tool: "Bash"}, &local.Activity{Status: wire.Working, Reason: "waiting"}},
		{"still waits for it", Event{Name: notification, Notification: "permission_prompt"}, &local.Activity{Status: wire.Working, Reason: "waiting"}},
		{"waits for an answer", Event{Name: notification, Notification: "elicitation_dialog"}, &local.Activity{Status: wire.Working, Reason: "waiting"}},
		{"is idle", Event{Name: notification, Notification: "idle_prompt"}, &local.Activity{Status: wire.Idle}},
		{"signed in", Event{Name: notification, Notification: "auth_success"}, nil},
		{"end of turn", Event{Name: stop}, &local.Activity{Status: wire.Idle, TurnOver: true}},
		{"end of turn by an error", Event{Name: stopFailure}, &local.Activity{Status: wire.Idle}},
		{"anything else", Event{Name: "PreCompact"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.e.SessionID = session
			if tc.want != nil {
				tc.want.PID, tc.want.SessionID = 42, session
			}
			if got := activity(&tc.e, 42); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("activity = %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	e := Event{Name: sessionStart, SessionID: session, Cwd: "/src", Source: "clear", Model: "m", Title: "t"}
	env := map[string]string{
		EnvMesh: "team, other,", EnvName: "bob", EnvRole: "backend",
		EnvGroups: "dev:lead,ops, bad name ,,@x,front/end:",
	}
	got := register(&e, 42, "100", func(name string) string { return env[name] })
	want := &local.Register{
		PID: 42, ProcStart: "100", SessionID: session, Source: local.SourceClear, Cwd: "/src",
		Meshes: []string{"team", "other"}, Name: "bob", Role: "backend", Title: "t", Model: "m",
		Groups: []wire.Group{{Name: "dev", Role: "lead"}, {Name: "ops"}, {Name: "front/end"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("register = %+v\nwant %+v", got, want)
	}
	for given, want := range map[text]local.Source{
		"startup": local.SourceStartup, "resume": local.SourceResume, "compact": local.SourceCompact,
		"fork": local.SourceFork, "clear": local.SourceClear, "": local.SourceResume, "new": local.SourceResume,
		"launch": local.SourceResume, // Claude Code doesn't use this word
	} {
		if got := source(&Event{Source: given}); got != want {
			t.Errorf("source %q: got %q, want %q", given, got, want)
		}
	}
}
