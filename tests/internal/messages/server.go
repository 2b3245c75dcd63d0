package messages

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// between is the pause between the parts of a slow text.
const between = 200 * time.Millisecond

// Server answers calls of the Messages API. Markers in a prompt script the model:
//
// [[tool NAME {"a":1}]]  call this tool; several in one prompt are called in parallel
// [[slow 25]]            say 25 words, one every 200 ms
// [[error 400]]          make the API answer with this HTTP status
type Server struct {
	// URL is for ANTHROPIC_BASE_URL.
	URL string
	// CheckTool is the full name of the tool check_messages.
	CheckTool string
	// Play, if not nil, replaces the model: it returns the text and the calls in answer to a
	// request. It may block. Set it before the first request.
	Play func(Request) (text string, calls []Call)

	t testing.TB

	mu       sync.Mutex
	requests []Request
	strays   []string // unexpected calls
	uses     int      // tool uses so far
	turns    map[string]int
}

// Start starts a server that ends with the test. checkTool is the full name of the tool
// check_messages.
func Start(t testing.TB, checkTool string) *Server {
	t.Helper()
	s := &Server{t: t, CheckTool: checkTool, turns: make(map[string]int)}
	listener := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		listener.CloseClientConnections()
		listener.Close()
	})
	s.URL = listener.URL
	return s
}

// Requests returns the requests of one session so far, or of all sessions for "".
func (s *Server) Requests(session string) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own []Request
	for _, r := range s.requests {
		if session == "" || r.Session == session {
			own = append(own, r)
		}
	}
	return own
}

// Turns returns how many turns of a session the model has ended, with an answer that calls no tool.
func (s *Server) Turns(session string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turns[session]
}

// Strays returns the calls other than POST /v1/messages.
func (s *Server) Strays() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.strays)
}

// Results returns the tool results in one session, or in all sessions for "", each tool use once, in
// the order in which the model saw them.
func (s *Server) Results(session string) []Result {
	var results []Result
	seen := make(map[string]bool)
	for _, r := range s.Requests(session) {
		for _, result := range r.Results() {
			if !seen[result.ID] {
				seen[result.ID] = true
				results = append(results, result)
			}
		}
	}
	return results
}

// Said returns every distinct text in one session, or in all sessions for "", that is neither a tool
// result nor from the model: the texts of the user, the harness and the system.
func (s *Server) Said(session string) []Text {
	var texts []Text
	seen := make(map[Text]bool)
	for _, r := range s.Requests(session) {
		for _, text := range r.Said() {
			if !seen[text] {
				seen[text] = true
				texts = append(texts, text)
			}
		}
	}
	return texts
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/v1/messages" {
		s.mu.Lock()
		s.strays = append(s.strays, r.Method+" "+r.URL.String())
		s.mu.Unlock()
		refuse(w, http.StatusNotFound)
		return
	}
	request, err := parseRequest(body)
	if err != nil {
		s.t.Errorf("mock of the Messages API: %v", err)
		refuse(w, http.StatusBadRequest)
		return
	}
	request.Session = r.Header.Get("X-Claude-Code-Session-Id")
	answer := s.decide(request)
	s.mu.Lock()
	s.requests = append(s.requests, request)
	first := s.uses + 1
	s.uses += max(1, len(answer.calls))
	s.mu.Unlock()
	if answer.status != 0 {
		refuse(w, answer.status)
		return
	}
	if len(answer.calls) == 0 && len(request.Tools) > 0 {
		// Count the request before answering, so that a client that sees the answer sees it counted.
		s.mu.Lock()
		s.turns[request.Session]++
		s.mu.Unlock()
	}
	stream{w, r}.send(request.Model, answer, first)
}

// refuse answers with an error in the API's format.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"type":"error","error":{"type":"invalid_request_error","message":"mock error"}}`)
}

// stream writes an answer as server-sent events.
type stream struct {
	w http.ResponseWriter
	r *http.Request
}

type object = map[string]any

// send writes the answer. first is the number of its first tool use.
func (st stream) send(model string, answer reply, first int) {
	st.w.Header().Set("Content-Type", "text/event-stream")
	st.event("message_start", object{"message": object{
		"id": fmt.Sprintf("msg_%d", first), "type": "message", "role": "assistant", "model": model, "content": []any{},
		"stop_reason": nil, "stop_sequence": nil,
		"usage": object{"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
	}})
	reason, block := "end_turn", 0
	if answer.text != "" {
		st.event("content_block_start", object{"index": 0, "content_block": object{"type": "text", "text": ""}})
		for i := range answer.pieces {
			if i > 0 && !st.wait() {
				return
			}
			st.event("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": strings.Repeat(" ", min(i, 1)) + answer.text}})
		}
		st.event("content_block_stop", object{"index": 0})
		block++
	}
	for i, c := range answer.calls {
		reason = "tool_use"
		st.event("content_block_start", object{"index": block, "content_block": object{
			"type": "tool_use", "id": fmt.Sprintf("toolu_%d", first+i), "name": c.Name, "input": object{},
		}})
		st.event("content_block_delta", object{"index": block, "delta": object{"type": "input_json_delta", "partial_json": c.Input}})
		st.event("content_block_stop", object{"index": block})
		block++
	}
	st.event("message_delta", object{"delta": object{"stop_reason": reason, "stop_sequence": nil}, "usage": object{"output_tokens": 5}})
	st.event("message_stop", object{})
}

// wait pauses. It returns false if the client has disconnected.
func (st stream) wait() bool {
	select {
	case <-st.r.Context().Done():
		return false
	case <-time.After(between):
		return true
	}
}

func (st stream) event(kind string, data object) {
	data["type"] = kind
	b, err := json.Marshal(data)
	if err != nil {
		panic(err) // can't happen for strings and numbers
	}
	_, _ = fmt.Fprintf(st.w, "event: %s\ndata: %s\n\n", kind, b)
	if f, ok := st.w.(http.Flusher); ok {
		f.Flush()
	}
}
