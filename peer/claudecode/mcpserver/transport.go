package mcpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// methodDiscover is how Claude Code probes for protocol revision 2026-07-28. It
// waits 3 s for the answer. A server that takes the newer revision gets no channel,
// so the answer is that there is no such method; Claude Code then begins with
// initialize, at 2025-11-25.
const methodDiscover = "server/discover"

// methodChannel is the notification that puts text into a session.
const methodChannel = "notifications/claude/channel"

// versions are the revisions that this server speaks: those before the newer one.
var versions = []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// transport is the SDK's, with what the SDK has not: an answer to the probe, and
// notifications that are not in the protocol.
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

// notifyChannel writes a channel notification: meta's keys have to be of letters,
// digits and underscores, or Claude Code drops them.
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
