package mcpserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
)

// rpc is a JSON-RPC message from the pipe.
type rpc struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// client plays Claude Code at the other end of the server's pipes.
type client struct {
	t        *testing.T
	in       *io.PipeWriter
	received chan rpc // closed at the end of the server's output
	ended    chan error
	cancel   context.CancelFunc
	nextID   int
}

// serve starts a server; this process plays claude.
func serve(t *testing.T, c Config) *client {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	c.In, c.Out = inR, outW
	if c.PID == 0 {
		c.PID = os.Getpid()
	}
	if c.Dir == "" {
		c.Dir = daemontest.Dir(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	k := &client{t: t, in: inW, received: make(chan rpc, 16), ended: make(chan error, 1), cancel: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.ended <- Serve(ctx, c)
		_ = outW.Close()
	}()
	go func() {
		defer close(k.received)
		for lines := bufio.NewScanner(outR); lines.Scan(); {
			var m rpc
			if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
				t.Errorf("the server wrote %q: %v", lines.Text(), err)
			}
			k.received <- m
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = inW.Close()
		_ = outR.Close()
		<-done
		for range k.received { // wait until the reader has ended
		}
	})
	return k
}

// write sends a line unchanged.
func (k *client) write(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.in, line+"\n"); err != nil {
		k.t.Fatal(err)
	}
}

// read returns the next message from the server.
func (k *client) read() rpc {
	k.t.Helper()
	select {
	case m, ok := <-k.received:
		if !ok {
			k.t.Fatal("the server's output has ended")
		}
		return m
	case <-time.After(await.Patience):
		k.t.Fatal("the server did not answer")
	}
	panic("unreachable")
}

// request sends a request and returns the answer to it.
func (k *client) request(method, params string) rpc {
	k.t.Helper()
	k.nextID++
	k.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, k.nextID, method, params))
	m := k.read()
	if string(m.ID) != fmt.Sprint(k.nextID) {
		k.t.Fatalf("%s: answer to %s: %s", method, m.ID, m.Result)
	}
	return m
}

// initialize does the handshake like Claude Code.
func (k *client) initialize() rpc {
	k.t.Helper()
	m := k.request("initialize", `{"protocolVersion":"2025-11-25","capabilities":{"roots":{"listChanged":true},"elicitation":{"form":{},"url":{}}},"clientInfo":{"name":"claude-code","title":"Claude Code","version":"2.1.330"}}`)
	k.write(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return m
}

// call calls a tool and returns its text, and whether it is an error.
func (k *client) call(tool, arguments string) (string, bool) {
	k.t.Helper()
	m := k.request("tools/call", fmt.Sprintf(`{"name":%q,"arguments":%s,"_meta":{"claudecode/toolUseId":"toolu_1","progressToken":1}}`, tool, arguments))
	if m.Error != nil {
		k.t.Fatalf("%s: protocol error %+v", tool, m.Error)
	}
	var result struct {
		Content []struct{ Type, Text string }
		IsError bool
	}
	if err := json.Unmarshal(m.Result, &result); err != nil {
		k.t.Fatal(err)
	}
	if len(result.Content) != 1 || result.Content[0].Type != "text" {
		k.t.Fatalf("%s answered %s", tool, m.Result)
	}
	return result.Content[0].Text, result.IsError
}

// end waits for the end of the server.
func (k *client) end() {
	k.t.Helper()
	select {
	case err := <-k.ended:
		if err != nil {
			k.t.Errorf("the server ended with %v", err)
		}
	case <-time.After(await.Patience):
		k.t.Fatal("the server did not end")
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not contain %q", text, part)
		}
	}
}
