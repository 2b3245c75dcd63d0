package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	probePatience = 3 * time.Second // time limit for the answer to the first message of a newer protocol
	callPatience  = 60 * time.Second
)

var errNoAnswer = errors.New("no answer")

// server is an MCP server on standard input and output.
type server struct {
	name         string // the name in the names of its tools
	cmd          *exec.Cmd
	in           io.WriteCloser
	instructions string
	tools        []string

	mu      sync.Mutex
	calls   int
	waiting map[string]chan answer // by request id, as JSON
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// startServer starts a server of a plugin and does the handshake.
func (a *app) startServer(p plugin, name string, config serverConfig) (*server, error) {
	var args []string
	for _, arg := range config.Args {
		args = append(args, p.expand(arg))
	}
	s := &server{name: "plugin_" + p.name + "_" + name, cmd: exec.Command(p.expand(config.Command), args...), waiting: make(map[string]chan answer)}
	s.cmd.Dir = a.s.cwd
	s.cmd.Env = append(slices.DeleteFunc(a.childEnv("harness"), isPID), p.env()...)
	for key, value := range config.Env {
		s.cmd.Env = append(s.cmd.Env, key+"="+p.expand(value))
	}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go s.readLoop(out) // ends with the server's output
	return s, s.initialize()
}

func (s *server) initialize() error {
	meta := map[string]any{"protocolVersion": "2026-07-28"}
	_, err := s.request("server-discover-probe-1", "server/discover", map[string]any{"_meta": meta}, probePatience)
	if err == nil {
		return errors.New("the server speaks an unknown protocol revision")
	}
	result, err := s.call("initialize", map[string]any{
		"protocolVersion": "2025-11-25",
		"capabilities":    map[string]any{"roots": map[string]any{"listChanged": true}, "elicitation": map[string]any{"form": map[string]any{}, "url": map[string]any{}}},
		"clientInfo":      map[string]any{"name": "claude-code", "title": "Claude Code", "version": version},
	})
	if err != nil {
		return fmt.Errorf("initialize: %w", err)
	}
	var hello struct {
		Version      string `json:"protocolVersion"`
		Instructions string `json:"instructions"`
	}
	if err := json.Unmarshal(result, &hello); err != nil || hello.Version == "" {
		return fmt.Errorf("initialize: answer %s", result)
	}
	s.instructions = hello.Instructions
	if err := s.write(map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"}); err != nil {
		return err
	}
	if result, err = s.call("tools/list", map[string]any{}); err != nil {
		return fmt.Errorf("tools/list: %w", err)
	}
	var list struct {
		Tools []struct {
			Name        string          `json:"name"`
			InputSchema json.RawMessage `json:"inputSchema"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(result, &list); err != nil {
		return err
	}
	for _, tool := range list.Tools {
		if tool.Name == "" || tool.InputSchema == nil {
			return fmt.Errorf("tools/list: %s", result)
		}
		s.tools = append(s.tools, tool.Name)
	}
	return nil
}

// use calls a tool. It returns the text of the result and whether it is an error.
func (s *server) use(tool, id string, input json.RawMessage) (string, bool) {
	s.mu.Lock()
	token := s.calls // a call that the user has interrupted may still run
	s.mu.Unlock()
	result, err := s.call("tools/call", map[string]any{
		"name": tool, "arguments": input, "_meta": map[string]any{"claudecode/toolUseId": id, "progressToken": token},
	})
	if err != nil {
		return "MCP error: " + err.Error(), true
	}
	var out struct {
		Content []block `json:"content"`
		IsError bool    `json:"isError"`
	}
	if err := json.Unmarshal(result, &out); err != nil {
		return "MCP error: " + err.Error(), true
	}
	said := ""
	for i, b := range out.Content {
		if i > 0 {
			said += "\n"
		}
		said += b.Text
	}
	return said, out.IsError
}

func (s *server) call(method string, params any) (json.RawMessage, error) {
	s.mu.Lock()
	s.calls++
	id := s.calls
	s.mu.Unlock()
	return s.request(id, method, params, callPatience)
}

func (s *server) request(id any, method string, params any, patience time.Duration) (json.RawMessage, error) {
	key, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	reply := make(chan answer, 1)
	s.mu.Lock()
	s.waiting[string(key)] = reply
	s.mu.Unlock()
	if err := s.write(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params}); err != nil {
		return nil, err
	}
	select {
	case a, open := <-reply:
		if !open {
			return nil, io.ErrUnexpectedEOF
		}
		if a.Error != nil {
			return nil, fmt.Errorf("%d: %s", a.Error.Code, a.Error.Message)
		}
		return a.Result, nil
	case <-time.After(patience):
		return nil, errNoAnswer
	}
}

func (s *server) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.in.Write(append(b, '\n'))
	return err
}

func (s *server) readLoop(out io.Reader) {
	r := bufio.NewReader(out)
	for {
		raw, err := r.ReadBytes('\n')
		if err != nil {
			break
		}
		var m struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
			answer
		}
		if json.Unmarshal(raw, &m) != nil {
			show("MCP server %s prints something that isn't JSON: %s", s.name, raw)
			continue
		}
		if m.Method != "" {
			continue // a request or notification of the server
		}
		s.mu.Lock()
		reply := s.waiting[string(m.ID)]
		delete(s.waiting, string(m.ID))
		s.mu.Unlock()
		if reply != nil {
			reply <- m.answer
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, reply := range s.waiting {
		close(reply)
		delete(s.waiting, id)
	}
}

// stop stops the server with SIGINT, like Claude Code.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	ended := make(chan struct{})
	go func() { // ends with the server, which gets a SIGKILL if it is late
		_ = s.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Second):
		show("MCP server %s did not end on SIGINT\n", s.name)
		_ = s.cmd.Process.Signal(os.Kill)
	}
}
