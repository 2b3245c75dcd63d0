package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// methodDiscover is the method with which Claude Code probes for protocol revision
// 2026-07-28. It waits 3 s for the answer. A server that accepts that revision gets no
// channel. So we answer that the method doesn't exist; Claude Code then continues with
// initialize, at revision 2025-11-25.
const methodDiscover = "server/discover"

// methodChannel is the notification that adds text to a session.
const methodChannel = "notifications/claude/channel"

// versions lists the protocol revisions that the server supports, all older than 2026-07-28.
var versions = []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// transport adds to the SDK's transport an answer to the probe, and notifications that are
// not part of the protocol.
type transport struct {
	mcp.Transport
	conn mcp.Connection // after Connect
}

func (t *transport) Connect(ctx context.Context) (mcp.Connection, error) {
	conn, err := t.Transport.Connect(ctx)
	if err != nil {
		return nil, err
	}
	t.conn = conn
	return &connection{conn}, nil
}

// notifyChannel writes a channel notification. Claude Code drops keys of meta that contain
// anything but letters, digits and underscores.
func (t *transport) notifyChannel(ctx context.Context, content string, meta map[string]string) error {
	if t.conn == nil {
		return errors.New("not connected")
	}
	params, err := json.Marshal(struct {
		Content string            `json:"content"`
		Meta    map[string]string `json:"meta,omitempty"`
	}{content, meta})
	if err != nil {
		return fmt.Errorf("encode channel notification: %w", err)
	}
	return t.conn.Write(ctx, &jsonrpc.Request{Method: methodChannel, Params: params})
}

// connection answers the probe itself.
type connection struct{ mcp.Connection }

func (c *connection) Read(ctx context.Context) (jsonrpc.Message, error) {
	for {
		message, err := c.Connection.Read(ctx)
		request, ok := message.(*jsonrpc.Request)
		if err != nil || !ok || request.Method != methodDiscover || !request.IsCall() {
			return message, err
		}
		no := &jsonrpc.Response{ID: request.ID, Error: &jsonrpc.Error{Code: jsonrpc.CodeMethodNotFound, Message: "method not found"}}
		if err := c.Write(ctx, no); err != nil {
			return nil, err
		}
	}
}
