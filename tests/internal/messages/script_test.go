package messages

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	const check = "mcp__mesh__check_messages"
	user := func(text string) string { return `{"role":"user","content":` + quoted(text) + `}` }
	system := func(text string) string { return `{"role":"system","content":` + quoted(text) + `}` }
	assistant := func(name string) string {
		return `{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"` + name + `","input":{}}]}`
	}
	result := func(text string) string {
		return `{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":` + quoted(text) + `}]}`
	}
	const pointer = "2 unread mesh messages from bob and carol: read them with check_messages"
	tests := []struct {
		name     string
		messages []string
		calls    []string
	}{
		{"text", []string{user("hello")}, nil},
		{"marker", []string{user(`[[tool Bash {"command":"echo ]] }"}]]`)}, []string{`Bash {"command":"echo ]] }"}`}},
		{"two markers", []string{user(`[[tool A {}]] and [[tool B {"x":1}]]`)}, []string{"A {}", `B {"x":1}`}},
		{"broken marker", []string{user(`[[tool A {]] [[tool`)}, nil},
		{"marker in a system text", []string{user("hello"), system("[[tool A {}]]")}, nil},
		{"marker before a tool result", []string{user("[[tool A {}]]"), assistant("A"), result("done")}, nil},
		{"marker in a tool result", []string{user("x"), assistant("A"), result("[[tool A {}]]")}, nil},
		{"prompt after an interrupted tool", []string{user("x"), assistant("A"), result("interrupted"), user("[[tool B {}]]")}, []string{"B {}"}},
		{"pointer of the user", []string{user(pointer)}, []string{check + " {}"}},
		{"pointer of the system", []string{user("hello"), system("UserPromptSubmit hook additional context: " + pointer)}, []string{check + " {}"}},
		{"pointer beside a result", []string{user("x"), assistant("A"), result("y"), system(pointer)}, []string{check + " {}"}},
		{"pointer in a result", []string{user("x"), assistant("A"), result(pointer)}, nil},
		{"old pointer", []string{user(pointer), assistant(check), result("two messages")}, nil},
		{"marker and pointer", []string{user("[[tool A {}]]"), system(pointer)}, []string{"A {}", check + " {}"}},
		{"more", []string{user(pointer), assistant(check), result("x\n\n3 more unread: call check_messages again.\n")}, []string{check + " {}"}},
		{"more of another tool", []string{user(pointer), assistant("A"), result("3 more unread: call check_messages again.\n")}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &Server{CheckTool: check}
			body := `{"model":"m","stream":true,"tools":[{"name":"Bash"}],"messages":[`
			for i, m := range test.messages {
				if i > 0 {
					body += ","
				}
				body += m
			}
			r, err := parseRequest([]byte(body + "]}"))
			if err != nil {
				t.Fatal(err)
			}
			var calls []string
			for _, c := range s.decide(r).calls {
				calls = append(calls, c.Name+" "+c.Input)
			}
			if !slices.Equal(calls, test.calls) {
				t.Errorf("calls %q, want %q", calls, test.calls)
			}
			r.Tools = nil
			if len(s.decide(r).calls) != 0 {
				t.Error("calls tools beside the conversation")
			}
		})
	}
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}
