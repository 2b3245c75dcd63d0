package hook

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

const session = "0b5ad3c2-6f5e-4a7b-9c1d-2e3f40516273"

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in string
		want     Event
	}{
		{
			"as Claude Code writes it",
			`{"session_id":"` + session + `","transcript_path":"/x.jsonl","cwd":"/src","hook_event_name":"SessionStart","source":"startup","model":"m","session_title":"t"}`,
			Event{Name: sessionStart, SessionID: session, Transcript: "/x.jsonl", Cwd: "/src", Source: "startup", Model: "m", Title: "t"},
		},
		{
			"upper case, fields of types we don't know",
			`{"session_id":"` + strings.ToUpper(session) + `","hook_event_name":"Stop","model":{"id":"m"},"reason":7,"cwd":null,"prompt":["x"]}`,
			Event{Name: stop, SessionID: session},
		},
		{
			"a tool",
			`{"session_id":"` + session + `","hook_event_name":"PostToolUse","tool_name":"Bash","tool_use_id":"toolu_1","tool_input":{"session_id":"no"},"tool_response":{"agent_id":"no"}}`,
			Event{Name: postToolUse, SessionID: session, Tool: "Bash", ToolUse: "toolu_1"},
		},
		{
			"a batch",
			`{"session_id":"` + session + `","hook_event_name":"PostToolBatch","tool_calls":[{"tool_name":"Bash","tool_use_id":"toolu_1","tool_response":[{"text":"x"}]},{"tool_name":7}]}`,
			Event{Name: postToolBatch, SessionID: session, Calls: uses{{"Bash", "toolu_1"}, {}}},
		},
		{
			"a batch of another form",
			`{"session_id":"` + session + `","hook_event_name":"PostToolBatch","tool_calls":{"toolu_1":"Bash"}}`,
			Event{Name: postToolBatch, SessionID: session},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse([]byte(tc.in))
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("Parse = %+v, %v\nwant %+v", got, err, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in string }{
		{"nothing", ""},
		{"no JSON", "hello"},
		{"no object", `["Stop"]`},
		{"two objects", `{"hook_event_name":"Stop","session_id":"` + session + `"}{}`},
		{"no name", `{"session_id":"` + session + `"}`},
		{"no session", `{"hook_event_name":"Stop"}`},
		{"session is a path", `{"hook_event_name":"Stop","session_id":"../../../../etc/passwd000000000000000"}`},
		{"session in braces", `{"hook_event_name":"Stop","session_id":"{` + session + `}"}`},
		{"session without dashes", `{"hook_event_name":"Stop","session_id":"` + strings.ReplaceAll(session, "-", "") + `"}`},
		{"too long", `{"hook_event_name":"Stop","session_id":"` + session + `","x":"` + strings.Repeat("x", MaxInput) + `"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if e, err := Parse([]byte(tc.in)); err == nil {
				t.Errorf("Parse = %+v", e)
			}
		})
	}
}

func TestParseBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", 10_000)
	in, err := json.Marshal(map[string]string{
		"hook_event_name": "SessionStart", "session_id": session, "cwd": long, "model": long, "session_title": long, "reason": long, "tool_use_id": long,
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	if e.Cwd != text(long[:wire.MaxTextLen]) {
		t.Errorf("cwd has %d bytes", len(e.Cwd))
	}
	for name, field := range map[string]text{"model": e.Model, "title": e.Title, "reason": e.Reason, "tool use": e.ToolUse} {
		if field != text(long[:wire.MaxNameLen]) {
			t.Errorf("%s has %d bytes", name, len(field))
		}
	}
	if got := cut("aü", 2); got != "a" {
		t.Errorf("cut within a character: %q", got)
	}
}

func TestHuman(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, prompt string
		want         bool
	}{
		{"typed", "fix the bug", true},
		{"a command", "/compact", true},
		{"about notifications", "why is there a <task-notification> in my log?", true},
		{"nothing", " \n", false},
		{"background task", "<task-notification>\n<task-id>1</task-id>", false},
		{"after spaces", "\n  <task-notification>", false},
		{"woken by a hook", "<system-reminder>[SYSTEM NOTIFICATION - NOT USER INPUT] x", false},
		{"monitor", "[SYSTEM NOTIFICATION - NOT USER INPUT] x", false},
		{"another session", "Another Claude session sent a message:\nhi", false},
		{"another session while working", "Another Claude session sent a message while you were working:\nhi", false},
		{"native message", `<cross-session-message from="uds:x">hi`, false},
		{"channel", `<channel source="mesh">1 unread</channel>`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if e := (Event{Prompt: text(tc.prompt)}); e.human() != tc.want {
				t.Errorf("human(%q) = %v", tc.prompt, !tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"session_id":"` + session + `","hook_event_name":"SessionStart","source":"clear"}`,
		`{"session_id":"` + session + `","hook_event_name":"UserPromptSubmit","prompt":"\ud800"}`,
		`{"hook_event_name":null}`, `{"a":{"b":[1,2,{}]}}`, "\x00", `{"session_id":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		e, err := Parse(in)
		if err != nil {
			return
		}
		if e.Name == "" || len(e.SessionID) != 36 || string(e.SessionID) != strings.ToLower(string(e.SessionID)) {
			t.Fatalf("accepted %+v", e)
		}
		if len(e.Cwd) > wire.MaxTextLen || len(e.Title) > wire.MaxNameLen || len(e.ToolUse) > wire.MaxNameLen {
			t.Fatalf("a field is too long: %+v", e)
		}
		// An event round-trips through JSON, as when it is passed to a detached process.
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(b)
		if err != nil || again.SessionID != e.SessionID {
			t.Fatalf("%+v came back as %+v, %v", e, again, err)
		}
		activity(&e, 1)
		register(&e, 1, "", func(string) string { return string(e.Cwd) })
	})
}
