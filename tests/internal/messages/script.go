package messages

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// pointer matches the text with which claudemesh points a model to unread messages.
var pointer = regexp.MustCompile(`\b\d+ unread mesh messages?\b[^\n]*\bcheck_messages\b`)

// more matches the end of a check_messages result if there are more messages.
var more = regexp.MustCompile(`(^|\n)\d+ more unread: call check_messages again\.\s*$`)

// reply is the model's answer to a request.
type reply struct {
	status int // the HTTP status, if not 200
	text   string
	pieces int // how many times the text is streamed, one piece each
	calls  []Call
}

// Call is a tool call.
type Call struct {
	Name  string
	Input string // JSON
}

// decide is the scripted model.
func (s *Server) decide(r Request) reply {
	if len(r.Tools) == 0 {
		return reply{text: "ok", pieces: 1} // a request outside the conversation, such as for its title
	}
	if s.Play != nil {
		text, calls := s.Play(r)
		return reply{text: text, pieces: 1, calls: calls}
	}
	news := r.news()
	answer := obey(newestPrompt(news))
	if s.unfinished(r) || pointed(news) && answer.status == 0 {
		answer.calls = append(answer.calls, Call{s.CheckTool, "{}"})
	}
	if len(answer.calls) > 0 {
		answer.text = ""
	}
	return answer
}

// newestPrompt returns the user's text after the last tool result.
func newestPrompt(news []Message) string {
	var prompt strings.Builder
	for _, m := range news {
		if m.Role == "system" {
			continue
		}
		for _, b := range m.Blocks {
			switch b.Type {
			case "tool_result":
				prompt.Reset()
			case "text":
				prompt.WriteString(b.Text + "\n")
			}
		}
	}
	return prompt.String()
}

// unfinished reports whether the newest result says that there are more messages.
func (s *Server) unfinished(r Request) bool {
	results := r.Results()
	news := r.news()
	if len(results) == 0 || len(news) == 0 || len(news[0].Blocks) == 0 || news[0].Blocks[0].Type != "tool_result" {
		return false
	}
	last := results[len(results)-1]
	return last.Tool == s.CheckTool && more.MatchString(last.Text)
}

// pointed reports whether a text points to unread messages. Tool results don't count, because a
// message could contain the same words.
func pointed(news []Message) bool {
	for _, m := range news {
		for _, b := range m.Blocks {
			if b.Type == "text" && pointer.MatchString(b.Text) {
				return true
			}
		}
	}
	return false
}

// obey returns the reply that the markers in a prompt ask for, or ok if there are none.
func obey(prompt string) reply {
	answer := reply{text: "ok", pieces: 1}
	for rest := prompt; ; {
		_, after, found := strings.Cut(rest, "[[")
		if !found {
			return answer
		}
		rest = after
		verb, args, _ := strings.Cut(after, " ")
		switch verb {
		case "tool":
			name, input, _ := strings.Cut(args, " ")
			var object json.RawMessage
			decoder := json.NewDecoder(strings.NewReader(input))
			if decoder.Decode(&object) == nil && len(object) > 0 && object[0] == '{' {
				answer.calls = append(answer.calls, Call{name, string(object)})
				rest = input[decoder.InputOffset():]
			}
		case "slow":
			answer.pieces = number(args)
		case "error":
			answer.status = number(args)
		}
	}
}

func number(args string) int {
	digits, _, _ := strings.Cut(args, "]]")
	n, err := strconv.Atoi(strings.TrimSpace(digits))
	if err != nil {
		return 1
	}
	return n
}
