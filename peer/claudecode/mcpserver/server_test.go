package mcpserver

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/peer/internal/daemontest"
	"github.com/claudemesh/claudemesh/peer/local"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	k := serve(t, Config{Version: "1.2.3"})
	// Copied from Claude Code 2.1.330.
	k.write(`{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"claude-code","version":"2.1.330"},"io.modelcontextprotocol/clientCapabilities":{}}}}`)
	m := k.read()
	if string(m.ID) != `"server-discover-probe-1"` || m.Error == nil || m.Error.Code != -32601 {
		t.Fatalf("the probe was answered %s %s %+v", m.ID, m.Result, m.Error)
	}
	var result struct {
		ProtocolVersion string
		ServerInfo      struct{ Name, Version string }
		Instructions    string
		Capabilities    struct {
			Tools        *struct{}
			Experimental map[string]any
		}
	}
	m = k.initialize()
	if err := json.Unmarshal(m.Result, &result); err != nil {
		t.Fatal(err)
	}
	if result.ProtocolVersion != "2025-11-25" || result.ServerInfo.Name != "claudemesh" || result.ServerInfo.Version != "1.2.3" {
		t.Errorf("initialize: %s", m.Result)
	}
	if result.Capabilities.Tools == nil || len(result.Capabilities.Experimental) != 0 {
		t.Errorf("capabilities: %s", m.Result)
	}
	contains(t, result.Instructions, "check_messages", "data", "acknowledge", "ask your user")
	if n := len(result.Instructions); n > 2000 {
		t.Errorf("the instructions have %d bytes", n)
	}
	if m := k.request("ping", "{}"); m.Error != nil {
		t.Errorf("ping: %+v", m.Error)
	}
}

func TestNewerRevisionIsNotTaken(t *testing.T) {
	t.Parallel()
	k := serve(t, Config{})
	m := k.request("initialize", `{"protocolVersion":"2026-07-28","capabilities":{},"clientInfo":{"name":"x","version":"1"}}`)
	var result struct{ ProtocolVersion string }
	if err := json.Unmarshal(m.Result, &result); err != nil || result.ProtocolVersion != "2025-11-25" {
		t.Errorf("negotiated %q, %v", result.ProtocolVersion, err)
	}
}

func TestToolsList(t *testing.T) {
	t.Parallel()
	k := serve(t, Config{})
	k.initialize()
	var result struct {
		Tools []struct {
			Name, Description string
			InputSchema       map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(k.request("tools/list", "{}").Result, &result); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range result.Tools {
		names = append(names, tool.Name)
		if tool.Description == "" || len(tool.Description) > 300 {
			t.Errorf("%s: description of %d bytes", tool.Name, len(tool.Description))
		}
		// The Messages API rejects alternatives at the top of a schema.
		for _, key := range []string{"anyOf", "oneOf", "allOf"} {
			if _, ok := tool.InputSchema[key]; ok {
				t.Errorf("%s: schema with %s", tool.Name, key)
			}
		}
		if string(tool.InputSchema["type"]) != `"object"` || string(tool.InputSchema["additionalProperties"]) != "false" {
			t.Errorf("%s: schema %v", tool.Name, tool.InputSchema)
		}
	}
	slices.Sort(names)
	want := []string{"check_messages", "join_group", "leave_group", "list_peers", "message_status", "send_message", "set_status", "set_summary"}
	if !slices.Equal(names, want) {
		t.Errorf("tools %v, want %v", names, want)
	}
}

func TestEndsWithInput(t *testing.T) {
	t.Parallel()
	k := serve(t, Config{})
	k.initialize()
	if err := k.in.Close(); err != nil {
		t.Fatal(err)
	}
	k.end()
}

func TestEndsBySignal(t *testing.T) {
	t.Parallel()
	dir := daemontest.Dir(t)
	d := daemontest.Start(t, dir)
	asked := make(chan struct{})
	d.HandleFunc(local.VerbPeers, func(_ http.ResponseWriter, r *http.Request) {
		var in local.PeersQuery
		_ = json.NewDecoder(r.Body).Decode(&in)
		close(asked)
		<-r.Context().Done()
	})
	daemontest.Ticket(t, dir, os.Getpid(), daemontest.Session, daemontest.SessionToken)
	k := serve(t, Config{Dir: dir})
	k.initialize()
	// The server ends even if a call hangs.
	k.write(`{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"list_peers","arguments":{}}}`)
	select {
	case <-asked:
	case <-time.After(await.Patience):
		t.Fatal("the call did not arrive")
	}
	k.cancel()
	k.end()
}

func TestEndsWithClaude(t *testing.T) {
	t.Parallel()
	claude := daemontest.Child(t)
	k := serve(t, Config{PID: claude.Process.Pid})
	k.initialize()
	if err := claude.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = claude.Wait()
	k.end()
}

func TestChannel(t *testing.T) {
	t.Parallel()
	dir := daemontest.Dir(t)
	d := daemontest.Start(t, dir)
	opened := make(chan time.Time, 1)
	d.HandleFunc(local.VerbWake, func(w http.ResponseWriter, r *http.Request) {
		var in local.Wake
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.Path != local.PathChannel || in.PID != os.Getpid() {
			t.Errorf("asked for %+v", in)
		}
		opened <- time.Now()
		_ = json.NewEncoder(w).Encode(local.Woken{Pointer: `1 unread mesh message from bob: read it with check_messages`})
		_ = json.NewEncoder(w).Encode(local.Woken{Over: true})
	})
	daemontest.Ticket(t, dir, os.Getpid(), daemontest.Session, daemontest.SessionToken)
	const grace = 100 * time.Millisecond
	k := serve(t, Config{Dir: dir, Channel: true, grace: grace})
	var result struct {
		Capabilities struct{ Experimental map[string]map[string]any }
	}
	begun := time.Now()
	if err := json.Unmarshal(k.initialize().Result, &result); err != nil {
		t.Fatal(err)
	}
	if _, ok := result.Capabilities.Experimental["claude/channel"]; !ok {
		t.Errorf("capabilities %+v", result.Capabilities)
	}
	m := k.read()
	if m.Method != "notifications/claude/channel" || m.ID != nil ||
		string(m.Params) != `{"content":"1 unread mesh message from bob: read it with check_messages","meta":{"kind":"unread"}}` {
		t.Errorf("notified %s %s", m.Method, m.Params)
	}
	if d := (<-opened).Sub(begun); d < grace {
		t.Errorf("the channel was used %s after the handshake began, before the end of the grace period", d)
	}
}

func TestNoDaemon(t *testing.T) {
	t.Parallel()
	k := serve(t, Config{})
	k.initialize()
	text, failed := k.call("list_peers", "{}")
	if !failed {
		t.Error("no error")
	}
	contains(t, text, "daemon is not running", "claudemesh doctor")

	k = serve(t, Config{Start: func(context.Context) error { return os.ErrPermission }})
	k.initialize()
	text, failed = k.call("list_peers", "{}")
	if !failed {
		t.Error("no error")
	}
	contains(t, text, "starting it failed", "permission denied", "claudemesh doctor")
}

func TestStartsDaemon(t *testing.T) {
	t.Parallel()
	dir := daemontest.Dir(t)
	daemontest.Ticket(t, dir, os.Getpid(), daemontest.Session, daemontest.SessionToken)
	k := serve(t, Config{Dir: dir, Start: func(context.Context) error {
		daemontest.Handle(daemontest.Start(t, dir), local.VerbPeers, func(local.PeersQuery) (any, error) { return local.Peers{}, nil })
		return nil
	}})
	k.initialize()
	text, failed := k.call("list_peers", "{}")
	if failed {
		t.Errorf("error: %s", text)
	}
	contains(t, text, "No other peer")
}

func TestNotRegistered(t *testing.T) {
	t.Parallel()
	dir := daemontest.Dir(t)
	daemontest.Start(t, dir)
	k := serve(t, Config{Dir: dir})
	k.initialize()
	begun := time.Now()
	text, failed := k.call("check_messages", "{}")
	if !failed {
		t.Error("no error")
	}
	contains(t, text, "not connected to a mesh", "claudemesh launch", "claudemesh doctor")
	if d := time.Since(begun); d < patience {
		t.Errorf("it waited only %s", d)
	}
}

// TestFollowsSession changes the session's token, like a late registration or a new daemon.
func TestFollowsSession(t *testing.T) {
	t.Parallel()
	dir := daemontest.Dir(t)
	d := daemontest.Start(t, dir)
	daemontest.Handle(d, local.VerbPeers, func(local.PeersQuery) (any, error) { return local.Peers{}, nil })
	k := serve(t, Config{Dir: dir})
	k.initialize()
	for _, token := range []string{"first", "second"} {
		d.SetToken(token)
		// The call starts before there is a valid ticket.
		k.write(`{"jsonrpc":"2.0","id":"` + token + `","method":"tools/call","params":{"name":"list_peers","arguments":{}}}`)
		daemontest.Ticket(t, dir, os.Getpid(), daemontest.Session, token)
		m := k.read()
		contains(t, string(m.Result), "No other peer")
	}
}
