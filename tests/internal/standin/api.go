package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

const model = "claude-opus-5-5"

// builtin lists the tools that come with a schema. The tools of MCP servers are deferred, but the
// model may call them anyway.
var builtin = []string{"Bash", "Read", "Edit", "Write", "ToolSearch"}

// ask sends the conversation and returns the assistant's answer, which is partial on error.
func (a *app) ask(ctx context.Context, messages []message, tools []string) (message, error) {
	declared := []map[string]any{}
	for _, name := range tools {
		declared = append(declared, map[string]any{"name": name, "description": name, "input_schema": map[string]any{"type": "object"}})
	}
	body, err := json.Marshal(map[string]any{
		"model": model, "max_tokens": 32000, "stream": true, "messages": messages, "tools": declared,
		"system": []block{text("You are Claude Code, Anthropic's official CLI for Claude.")},
	})
	if err != nil {
		return message{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv("ANTHROPIC_BASE_URL")+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return message{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Api-Key", os.Getenv("ANTHROPIC_API_KEY"))
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("X-Claude-Code-Session-Id", a.s.id)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return message{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		return message{}, fmt.Errorf("API Error: %d %s", res.StatusCode, b)
	}
	return readStream(res.Body)
}

// readStream assembles an answer from server-sent events.
func readStream(r io.Reader) (message, error) {
	m := message{Role: "assistant"}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		data, ok := strings.CutPrefix(scanner.Text(), "data: ")
		if !ok {
			continue
		}
		var event struct {
			Type  string `json:"type"`
			Block block  `json:"content_block"`
			Delta struct {
				Text string `json:"text"`
				JSON string `json:"partial_json"`
			} `json:"delta"`
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			return m, err
		}
		last := len(m.Content) - 1
		switch event.Type {
		case "content_block_start":
			event.Block.Input = nil // the input follows in pieces
			m.Content = append(m.Content, event.Block)
		case "content_block_delta":
			m.Content[last].Text += event.Delta.Text
			m.Content[last].Input = append(m.Content[last].Input, event.Delta.JSON...)
		case "message_stop":
			return m, nil
		}
	}
	if err := scanner.Err(); err != nil {
		return m, err
	}
	return m, io.ErrUnexpectedEOF
}
