package messages

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Request is one call of POST /v1/messages.
type Request struct {
	At       time.Time
	Session  string // the header X-Claude-Code-Session-Id
	Model    string
	System   []Block // the system prompt
	Messages []Message
	Tools    []string // the names of the tools that come with a schema
	Raw      []byte   // the body
}

// Message is one entry of a conversation.
type Message struct {
	Role   string // user, assistant or system
	Blocks []Block
}

// Block is a part of a message.
type Block struct {
	Type      string          `json:"type"` // text, tool_use, tool_result
	Text      string          `json:"text"`
	ID        string          `json:"id"`          // tool_use
	Name      string          `json:"name"`        // tool_use
	Input     json.RawMessage `json:"input"`       // tool_use
	ToolUseID string          `json:"tool_use_id"` // tool_result
	Content   content         `json:"content"`     // tool_result
	IsError   bool            `json:"is_error"`    // tool_result
}

// content is a text or a list of blocks in JSON, and always a list in Go.
type content []Block

func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = content{{Type: "text", Text: text}}
		return nil
	}
	return json.Unmarshal(b, (*[]Block)(c))
}

func (c content) text() string {
	var parts []string
	for _, b := range c {
		parts = append(parts, b.Text)
	}
	return strings.Join(parts, "\n")
}

// parseRequest reads the body of a call.
func parseRequest(body []byte) (Request, error) {
	var in struct {
		Model    string  `json:"model"`
		Stream   bool    `json:"stream"`
		System   content `json:"system"`
		Messages []struct {
			Role    string  `json:"role"`
			Content content `json:"content"`
		} `json:"messages"`
		Tools []struct {
			Name string `json:"name"`
		} `json:"tools"`
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return Request{}, fmt.Errorf("read the request: %w", err)
	}
	if !in.Stream {
		return Request{}, fmt.Errorf("the request doesn't ask for a stream")
	}
	r := Request{At: time.Now(), Model: in.Model, System: in.System, Raw: body}
	for _, m := range in.Messages {
		r.Messages = append(r.Messages, Message{Role: m.Role, Blocks: m.Content})
	}
	for _, tool := range in.Tools {
		r.Tools = append(r.Tools, tool.Name)
	}
	return r, nil
}

// news returns the messages after the last one of the assistant.
func (r Request) news() []Message {
	for i := len(r.Messages) - 1; i >= 0; i-- {
		if r.Messages[i].Role == "assistant" {
			return r.Messages[i+1:]
		}
	}
	return r.Messages
}

// News is what is new in a conversation since the model's last message.
type News struct {
	Prompt  string   // the user's prompt
	Results []Result // the results of the tools that the model called
	Pointed bool     // whether a text points to unread mesh messages
}

// News returns what is new.
func (r Request) News() News {
	news := r.news()
	fresh := make(map[string]bool)
	for _, m := range news {
		for _, b := range m.Blocks {
			fresh[b.ToolUseID] = fresh[b.ToolUseID] || b.Type == "tool_result"
		}
	}
	return News{
		Prompt: strings.TrimSpace(newestPrompt(news)), Pointed: pointed(news),
		Results: slices.DeleteFunc(r.Results(), func(result Result) bool { return !fresh[result.ID] }),
	}
}

// Results returns the tool results, in the order of the conversation.
func (r Request) Results() []Result {
	names := make(map[string]Block)
	var results []Result
	for _, m := range r.Messages {
		for _, b := range m.Blocks {
			switch b.Type {
			case "tool_use":
				names[b.ID] = b
			case "tool_result":
				call := names[b.ToolUseID]
				results = append(results, Result{ID: b.ToolUseID, Tool: call.Name, Input: string(call.Input), Text: b.Content.text(), IsError: b.IsError})
			}
		}
	}
	return results
}

// Said returns every text of the conversation, with its role, that is neither a tool result nor
// from the model: the texts of the user and of the harness, including the system prompt.
func (r Request) Said() []Text {
	var texts []Text
	for _, b := range r.System {
		texts = append(texts, Text{Role: "system", Text: b.Text})
	}
	for _, m := range r.Messages {
		if m.Role == "assistant" {
			continue
		}
		for _, b := range m.Blocks {
			if b.Type != "tool_result" {
				texts = append(texts, Text{Role: m.Role, Text: b.Text})
			}
		}
	}
	return texts
}

// Result is a tool result for the model.
type Result struct {
	ID      string // the id of the tool use
	Tool    string // its name
	Input   string // JSON
	Text    string
	IsError bool
}

// Text is a text in a conversation.
type Text struct {
	Role string
	Text string
}
