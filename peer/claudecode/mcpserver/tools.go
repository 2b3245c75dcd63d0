package mcpserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"

	"github.com/google/uuid"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// metaToolUse is where Claude Code tells a tool the id of the call, which its hooks
// get too.
const metaToolUse = "claudecode/toolUseId"

// maxMessages is how many messages one answer holds at most, so that their frames
// stay within what Claude Code takes from a tool (25,000 tokens).
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
		Description: "Send a message to a peer, a group (@name) or everybody (*) of the mesh. It is encrypted for them and waits while they are away. Answers with an id for message_status.",
		InputSchema: schema(`{"type":"object","required":["message"],"additionalProperties":false,"properties":{
			"to":{"type":"string","description":"Name of a peer, its key or the first 8 digits of it, @group for those who are in that group now, or * for everybody who is here now. Leave it out with reply_to to answer the sender."},
			"message":{"type":"string","minLength":1,"description":"The text, with all that its reader needs to know."},
			"priority":{"type":"string","enum":["now","next","low"],"description":"now: interrupts the peer's work; next (default): when it is idle; low: when it is idle, and least important."},
			"reply_to":{"type":"string","minLength":8,"description":"Id of the message that this answers."},
			"mesh":{"type":"string","description":"Slug of the mesh, or the end of its id (8 characters or more), if this session is in several."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Send a message", DestructiveHint: no(), OpenWorldHint: yes()},
	}, s.send)
	add(s, m, &mcp.Tool{
		Name:        "list_peers",
		Description: "List who is on the mesh: name, key, status, groups, what they are working on, whether their member vouches for them (verified), and whether your user has compared keys with that member (comparedByVoice).",
		InputSchema: schema(`{"type":"object","additionalProperties":false,"properties":{
			"mesh":{"type":"string","description":"Slug of the mesh, or the end of its id (8 characters or more); all meshes of this session if left out."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "List peers", ReadOnlyHint: true, OpenWorldHint: yes()},
	}, s.peers)
	add(s, m, &mcp.Tool{
		Name:        "check_messages",
		Description: "Read the unread messages of this session, oldest first. With message_id and offset: read on in a long one, or read one again.",
		InputSchema: schema(`{"type":"object","additionalProperties":false,"properties":{
			"message_id":{"type":"string","minLength":8,"description":"Read this message, unread or not."},
			"offset":{"type":"integer","minimum":0,"description":"With message_id: skip so many characters."},
			"limit":{"type":"integer","minimum":1,"maximum":20,"description":"At most so many messages (default 20)."}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Check messages", DestructiveHint: no(), OpenWorldHint: yes()},
	}, s.check)
	add(s, m, &mcp.Tool{
		Name:        "message_status",
		Description: "Tell how far a message that you sent has come: waiting, queued, delivered, in the recipient's context, or expired, refused, failed.",
		InputSchema: schema(`{"type":"object","required":["id"],"additionalProperties":false,"properties":{
			"id":{"type":"string","minLength":8,"description":"The id from send_message, or 8 characters or more of its start or end."}}}`),
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
		Description: "Set dnd so that only urgent messages interrupt; idle or working ends it. Working and idle are otherwise followed by themselves.",
		InputSchema: schema(`{"type":"object","required":["status"],"additionalProperties":false,"properties":{
			"status":{"type":"string","enum":["idle","working","dnd"]}}}`),
		Annotations: &mcp.ToolAnnotations{Title: "Set the status", DestructiveHint: no(), IdempotentHint: true},
	}, s.setStatus)
	add(s, m, &mcp.Tool{
		Name:        "join_group",
		Description: "Join a group of the mesh, so that messages to @group reach this session.",
		InputSchema: schema(`{"type":"object","required":["group"],"additionalProperties":false,"properties":{
			"group":{"type":"string","minLength":1,"maxLength":128,"description":"Name of the group, with or without @."},
			"role":{"type":"string","maxLength":128,"description":"What this session is in the group, e.g. lead."}}}`),
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

// add registers a tool that answers in text. Its errors become tool errors. Whatever a
// tool says, names in its errors too, goes through here to the model.
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
		return "", errors.New("say to whom: give `to`, or `reply_to` to answer a message; list_peers shows who is there")
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
	return peersText(peers.Peers), nil
}

func (s *server) check(ctx context.Context, toolUse string, in checkInput) (string, error) {
	if in.Offset > 0 && in.MessageID == "" {
		return "", errors.New("offset needs message_id: the message to read on in")
	}
	limit := maxMessages
	if in.Limit > 0 {
		limit = min(in.Limit, maxMessages)
	}
	if toolUse == "" { // one name for all attempts, so that a second one gets what the first one's lost answer took
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
		return "The summary is cleared.", nil
	}
	return "Peers see the summary now.", nil
}

func (s *server) setStatus(ctx context.Context, _ string, in local.SetStatus) (string, error) {
	if err := s.link.call(ctx, local.VerbSetStatus, in, nil); err != nil {
		return "", err
	}
	if in.Status == wire.DND {
		return "The status is dnd: only urgent messages interrupt until you set idle or working.", nil
	}
	return "The status is " + string(in.Status) + ".", nil
}

func (s *server) joinGroup(ctx context.Context, _ string, in groupInput) (string, error) {
	name, err := groupName(in.Group)
	if err != nil {
		return "", err
	}
	if err := s.link.call(ctx, local.VerbJoinGroup, local.Group{Name: name, Role: in.Role}, nil); err != nil {
		return "", err
	}
	return "This session is in @" + name + " now.", nil
}

func (s *server) leaveGroup(ctx context.Context, _ string, in groupInput) (string, error) {
	name, err := groupName(in.Group)
	if err != nil {
		return "", err
	}
	if err := s.link.call(ctx, local.VerbLeaveGroup, local.Group{Name: name}, nil); err != nil {
		return "", err
	}
	return "This session is not in @" + name + " any more.", nil
}

func groupName(s string) (string, error) {
	name := strings.TrimPrefix(strings.TrimSpace(s), "@")
	if !wire.ValidGroup(name) {
		return "", errors.New("a group's name can't have spaces, commas, @ or #, nor be empty")
	}
	return name, nil
}
