package mcpserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// metaToolUse is the key under which Claude Code passes the id of a tool call. Hooks get the
// same id.
const metaToolUse = "claudecode/toolUseId"

// maxMessages is the maximum number of messages in one answer. It keeps the answer below
// Claude Code's limit for a tool result (25,000 tokens).
const maxMessages = 20

type sendInput struct {
	To       string        `json:"to"`
	Message  string        `json:"message"`
	Priority wire.Priority `json:"priority"`
	ReplyTo  string        `json:"reply_to"`
	Mesh     string        `json:"mesh"`
}

type checkInput struct {
	MessageID string `json:"message_id"`
	Offset    int    `json:"offset"`
	Limit     int    `json:"limit"`
}

type groupInput struct {
	Group string `json:"group"`
	Role  string `json:"role"`
}

func (s *server) addTools(m *mcp.Server) {
	add(s, m, &mcp.Tool{
		Name:        "send_message",
		Description: "Send a message to a peer, a group (@name) or everybody (*) in the mesh. The message is encrypted for its recipients. If a recipient is away, the message is queued. Returns an id for message_status.",
		InputSchema: schema(`{"type":"object","required":["message"],"additionalProperties":false,"properties":{
			"to":{"type":"string","description":"Name of a peer, its key or the first 8 or more digits of its key, @group for everybody who is in that group now, or * for everybody who is connected now. Leave it out and give reply_to to answer the sender of a message."},
			"message":{"type":"string","minLength":1,"description":"The text. Include everything that the reader needs to know."},
			"priority":{"type":"string","enum":["now","next","low"],"description":"now: interrupts the peer's work; next (default): delivered when the peer is idle; low: delivered when the peer is idle, after the others."},
			"reply_to":{"type":"string","minLength":8,"description":"Id of the message that this one answers."},
			"mesh":{"type":"string","description":"Slug of the mesh, or the last 8 or more characters of its id. Needed only if this session is in several meshes."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Send a message", DestructiveHint: no(), OpenWorldHint: yes()},
	}, s.send)
	add(s, m, &mcp.Tool{
		Name:        "list_peers",
		Description: "List the peers in the mesh: name, key, status, groups, a summary of their work, whether their member vouches for them (verified), and whether your user has compared keys with that member (comparedByVoice).",
		InputSchema: schema(`{"type":"object","additionalProperties":false,"properties":{
			"mesh":{"type":"string","description":"Slug of the mesh, or the last 8 or more characters of its id. Default: all meshes of this session."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "List peers", ReadOnlyHint: true, OpenWorldHint: yes()},
	}, s.peers)
	add(s, m, &mcp.Tool{
		Name:        "check_messages",
		Description: "Read the unread messages of this session, oldest first. Give message_id to read a message again, and offset to continue a long one.",
		InputSchema: schema(`{"type":"object","additionalProperties":false,"properties":{
			"message_id":{"type":"string","minLength":8,"description":"Read only this message, even if it was read before."},
			"offset":{"type":"integer","minimum":0,"description":"With message_id: the number of characters to skip."},
			"limit":{"type":"integer","minimum":1,"maximum":20,"description":"Maximum number of messages (default 20)."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Check messages", DestructiveHint: no(), OpenWorldHint: yes()},
	}, s.check)
	add(s, m, &mcp.Tool{
		Name:        "message_status",
		Description: "Show the status of a message that you sent: waiting, queued, delivered, in the recipient's context, expired, refused, failed, or no longer known to the broker.",
		InputSchema: schema(`{"type":"object","required":["id"],"additionalProperties":false,"properties":{
			"id":{"type":"string","minLength":8,"description":"The id from send_message, or its first or last 8 or more characters."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Status of a message", ReadOnlyHint: true, OpenWorldHint: yes()},
	}, s.messageStatus)
	s.addPresenceTools(m)
}

func (s *server) addPresenceTools(m *mcp.Server) {
	add(s, m, &mcp.Tool{
		Name:        "set_summary",
		Description: "Tell peers in one line what this session is working on.",
		InputSchema: schema(`{"type":"object","required":["summary"],"additionalProperties":false,"properties":{
			"summary":{"type":"string","maxLength":1000,"description":"One line; empty to clear it."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Set the summary", DestructiveHint: no(), IdempotentHint: true},
	}, s.setSummary)
	add(s, m, &mcp.Tool{
		Name:        "set_status",
		Description: "Set dnd (do not disturb), so that only urgent messages interrupt; set idle or working to end it. You don't need to set idle and working otherwise: they follow your activity.",
		InputSchema: schema(`{"type":"object","required":["status"],"additionalProperties":false,"properties":{
			"status":{"type":"string","enum":["idle","working","dnd"]}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Set the status", DestructiveHint: no(), IdempotentHint: true},
	}, s.setStatus)
	add(s, m, &mcp.Tool{
		Name:        "join_group",
		Description: "Join a group of the mesh, so that messages to @group reach this session.",
		InputSchema: schema(`{"type":"object","required":["group"],"additionalProperties":false,"properties":{
			"group":{"type":"string","minLength":1,"maxLength":128,"description":"Name of the group, with or without @."},
			"role":{"type":"string","maxLength":128,"description":"Role of this session in the group, e.g. lead."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Join a group", DestructiveHint: no(), IdempotentHint: true},
	}, s.joinGroup)
	add(s, m, &mcp.Tool{
		Name:        "leave_group",
		Description: "Leave a group of the mesh.",
		InputSchema: schema(`{"type":"object","required":["group"],"additionalProperties":false,"properties":{
			"group":{"type":"string","minLength":1,"maxLength":128,"description":"Name of the group, with or without @."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Leave a group", DestructiveHint: no(), IdempotentHint: true},
	}, s.leaveGroup)
}

func schema(s string) json.RawMessage { return json.RawMessage(s) }

func yes() *bool { b := true; return &b }
func no() *bool  { return new(bool) }

// add registers a tool that answers in text. Its errors become tool errors. All text from a
// tool to the model, including names in errors, passes through package visible here.
func add[In any](s *server, m *mcp.Server, tool *mcp.Tool, run func(context.Context, string, In) (string, error)) {
	mcp.AddTool(m, tool, func(ctx context.Context, r *mcp.CallToolRequest, in In) (*mcp.CallToolResult, any, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)() // the end of the run ends its calls
		toolUse, _ := r.Params.Meta[metaToolUse].(string)
		text, err := run(ctx, toolUse, in)
		if err != nil {
			return nil, nil, errors.New(visible.Text(err.Error(), visible.Model))
		}
		text = visible.Text(text, visible.Model)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
}

func (s *server) send(ctx context.Context, _ string, in sendInput) (string, error) {
	if strings.TrimSpace(in.Message) == "" {
		return "", errors.New("the message is empty")
	}
	if in.To == "" && in.ReplyTo == "" {
		return "", errors.New("the recipient is missing: give `to`, or `reply_to` to answer a message; call list_peers to see who is connected")
	}
	var sent local.Sent
	err := s.link.call(ctx, local.VerbSend, local.Send{
		To: in.To, Text: in.Message, Priority: in.Priority, ReplyTo: in.ReplyTo, Mesh: in.Mesh,
		ClientID: uuid.NewString(), // the call may be repeated
	}, &sent)
	if err != nil {
		return "", err
	}
	return sentText(&sent), nil
}

func (s *server) peers(ctx context.Context, _ string, in local.PeersQuery) (string, error) {
	var peers local.Peers
	if err := s.link.call(ctx, local.VerbPeers, in, &peers); err != nil {
		return "", err
	}
	return peersText(&peers), nil
}

func (s *server) check(ctx context.Context, toolUse string, in checkInput) (string, error) {
	if in.Offset > 0 && in.MessageID == "" {
		return "", errors.New("offset needs message_id: the id of the message to continue")
	}
	limit := maxMessages
	if in.Limit > 0 {
		limit = min(in.Limit, maxMessages)
	}
	if toolUse == "" { // use one id for all attempts: if an answer is lost, the next attempt gets the same messages
		toolUse = "check-" + rand.Text()
	}
	var checked local.Checked
	err := s.link.call(ctx, local.VerbCheck, local.Check{
		ToolUseID: toolUse, MessageID: in.MessageID, Offset: in.Offset, Limit: limit,
	}, &checked)
	if err != nil {
		return "", err
	}
	return checkedText(&checked), nil
}

func (s *server) messageStatus(ctx context.Context, _ string, in local.MessageQuery) (string, error) {
	var status local.MessageStatus
	if err := s.link.call(ctx, local.VerbMessageStatus, in, &status); err != nil {
		return "", err
	}
	return statusText(&status), nil
}

func (s *server) setSummary(ctx context.Context, _ string, in local.SetSummary) (string, error) {
	if err := s.link.call(ctx, local.VerbSetSummary, in, nil); err != nil {
		return "", err
	}
	if in.Summary == "" {
		return "Cleared the summary.", nil
	}
	return "Peers now see the summary.", nil
}

func (s *server) setStatus(ctx context.Context, _ string, in local.SetStatus) (string, error) {
	if err := s.link.call(ctx, local.VerbSetStatus, in, nil); err != nil {
		return "", err
	}
	if in.Status == wire.DND {
		return "The status is now dnd: only urgent messages interrupt, until you set idle or working.", nil
	}
	return "The status is now " + string(in.Status) + ".", nil
}

func (s *server) joinGroup(ctx context.Context, _ string, in groupInput) (string, error) {
	name, err := groupName(in.Group)
	if err != nil {
		return "", err
	}
	if err := s.link.call(ctx, local.VerbJoinGroup, local.Group{Name: name, Role: in.Role}, nil); err != nil {
		return "", err
	}
	return "This session is now in @" + name + ".", nil
}

func (s *server) leaveGroup(ctx context.Context, _ string, in groupInput) (string, error) {
	name, err := groupName(in.Group)
	if err != nil {
		return "", err
	}
	if err := s.link.call(ctx, local.VerbLeaveGroup, local.Group{Name: name}, nil); err != nil {
		return "", err
	}
	return "This session is no longer in @" + name + ".", nil
}

func groupName(s string) (string, error) {
	name := strings.TrimPrefix(strings.TrimSpace(s), "@")
	if !wire.ValidGroup(name) {
		return "", fmt.Errorf("%q isn't a valid group name: it must not be empty or contain spaces, commas, @ or #", s)
	}
	return name, nil
}
