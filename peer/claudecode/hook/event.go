package hook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// MaxInput is the maximum size of an event, in bytes. The hook ignores longer events, which
// contain a long tool result.
const MaxInput = 1 << 20

// maxPath is the maximum length of a path that the hook passes on, in bytes.
const maxPath = 4096

// Event holds the fields that we need of the JSON that Claude Code writes to a hook. A field
// that is missing or has an unexpected type is empty.
type Event struct {
	Name         text `json:"hook_event_name"`
	SessionID    text `json:"session_id"` // UUID; Parse makes it lower case
	AgentID      text `json:"agent_id,omitempty"`
	Transcript   text `json:"transcript_path,omitempty"`
	Cwd          text `json:"cwd,omitempty"`
	Source       text `json:"source,omitempty"` // SessionStart
	Model        text `json:"model,omitempty"`
	Title        text `json:"session_title,omitempty"`
	Prompt       text `json:"prompt,omitempty"` // UserPromptSubmit
	Tool         text `json:"tool_name,omitempty"`
	ToolUse      text `json:"tool_use_id,omitempty"`
	Calls        uses `json:"tool_calls,omitempty"` // PostToolBatch
	Notification text `json:"notification_type,omitempty"`
	Reason       text `json:"reason,omitempty"` // SessionEnd
}

// text is a string. Any other JSON value decodes to "".
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	*t = text(s)
	return nil
}

// use is a call of a tool in a batch.
type use struct {
	Tool text `json:"tool_name"`
	ID   text `json:"tool_use_id"`
}

// uses is a list of calls. Any other JSON value decodes to an empty list.
type uses []use

func (u *uses) UnmarshalJSON(b []byte) error {
	var list []use
	if json.Unmarshal(b, &list) == nil {
		*u = list
	}
	return nil
}

// The events that matter.
const (
	sessionStart      = "SessionStart"
	userPromptSubmit  = "UserPromptSubmit"
	preToolUse        = "PreToolUse"
	postToolUse       = "PostToolUse"
	postToolBatch     = "PostToolBatch"
	permissionRequest = "PermissionRequest"
	notification      = "Notification"
	stop              = "Stop"
	stopFailure       = "StopFailure"
	sessionEnd        = "SessionEnd"
)

// Parse parses an event. The input must be a JSON object with the name of an event and the
// UUID of a session.
func Parse(b []byte) (Event, error) {
	var e Event
	if len(b) > MaxInput {
		return e, fmt.Errorf("the event is longer than %d bytes", MaxInput)
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("parse the event: %w", err)
	}
	if e.Name == "" {
		return e, errors.New("the event has no hook_event_name")
	}
	if len(e.SessionID) != 36 || uuid.Validate(string(e.SessionID)) != nil {
		return e, errors.New("the event's session_id isn't a UUID")
	}
	e.SessionID = text(strings.ToLower(string(e.SessionID)))
	e.Cwd = cut(e.Cwd, wire.MaxTextLen)
	e.Model = cut(e.Model, wire.MaxNameLen)
	e.Title = cut(e.Title, wire.MaxNameLen)
	e.Reason = cut(e.Reason, wire.MaxNameLen)
	e.ToolUse = cut(e.ToolUse, wire.MaxNameLen)
	if len(e.Transcript) > maxPath {
		e.Transcript = ""
	}
	return e, nil
}

func cut(t text, limit int) text { return text(visible.Cut(string(t), limit, visible.Bytes)) }

// notTyped lists how prompts begin that no user has typed. Claude Code also sends
// UserPromptSubmit for those.
var notTyped = []string{
	"<task-notification>",
	"<system-reminder>",
	"[SYSTEM NOTIFICATION",
	"<cross-session-message",
	"Another Claude session sent a message",
	"<channel ",
	"Stop hook feedback:",
}

// human reports whether a user has probably typed the prompt.
func (e *Event) human() bool {
	prompt := strings.TrimSpace(string(e.Prompt))
	for _, start := range notTyped {
		if strings.HasPrefix(prompt, start) {
			return false
		}
	}
	return prompt != ""
}

// checksMessages reports whether the tool is check_messages of any MCP server. The daemon
// knows which calls it has answered, so other servers don't matter.
func checksMessages(tool text) bool {
	return strings.HasPrefix(string(tool), "mcp__") && strings.HasSuffix(string(tool), "__check_messages")
}

// checks returns the ids of the calls of check_messages in the batch.
func (e *Event) checks() (ids []string) {
	for _, call := range e.Calls {
		if checksMessages(call.Tool) && len(call.ID) <= wire.MaxNameLen {
			ids = append(ids, string(call.ID))
		}
	}
	return ids
}
