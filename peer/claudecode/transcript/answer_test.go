package transcript

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	t.Parallel()
	result := func(id, content string) string {
		return `{"type":"user","message":{"role":"user","content":[{"tool_use_id":"` + id + `","type":"tool_result","content":` + content + `}]},"sessionId":"s"}` + "\n"
	}
	call := `{"type":"assistant","message":{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"x","input":{}}]}}` + "\n"
	two := `{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t0","content":"zero"},{"type":"tool_result","tool_use_id":"t1","content":"one"}]}}` + "\n"
	for _, tc := range []struct {
		name, text, want string
		ok               bool
	}{
		{"empty", "", "", false},
		{"called", call, "", false},
		{"blocks", call + result("t1", `[{"type":"text","text":"a <b>"},{"type":"text","text":"c"}]`), "a <b>\nc", true},
		{"text", call + result("t1", `"rejected"`), "rejected", true},
		{"nothing", call + result("t1", `[]`), "", true},
		{"of another form", call + result("t1", `{"x":1}`), "", true},
		{"of another call", call + result("t2", `"t1"`), "", false},
		{"one of two", two, "one", true},
		{"half a line", call + strings.TrimSuffix(result("t1", `"x"`), "\n"), "", false},
		{"of a subagent", strings.Replace(result("t1", `"x"`), `{"type"`, `{"isSidechain":true,"type"`, 1), "", false},
		{"no JSON", "t1\n" + `{"t1"` + "\n" + `{"message":"t1"}` + "\n" + result("t1", `"x"`), "x", true},
		{"at the end of a long file", strings.Repeat(strings.Repeat("x", 1<<20)+"\n", 6) + result("t1", `"x"`), "x", true},
		{"after a line that is too long", strings.Repeat("x", maxLine+1) + "\n" + result("t1", `"x"`), "x", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.jsonl")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, ok, err := Answer(path, "t1")
			if got != tc.want || ok != tc.ok || err != nil {
				t.Errorf("got %q, %v, %v; want %q, %v", got, ok, err, tc.want, tc.ok)
			}
		})
	}
	if _, _, err := Answer(filepath.Join(t.TempDir(), "x"), "t1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}
