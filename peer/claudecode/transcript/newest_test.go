package transcript

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	older = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	newer = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
)

// conversation is a short transcript: the lines before the first prompt, the prompt, and an
// answer.
func conversation(fields, later string) string {
	return `{"type":"mode","mode":"normal","sessionId":"s"}
{"type":"user","isSidechain":false,` + fields + `"cwd":"/w","sessionId":"s"}
{"type":"assistant","isSidechain":false,` + later + `"cwd":"/w","sessionId":"s"}
{"type":"last-prompt","lastPrompt":"\"entrypoint\":\"sdk-cli\"","sessionId":"s"}
`
}

// TestNewest checks which of two conversations is the newer. Each row was verified with Claude Code
// 2.1.330, with an older conversation of the usual kind and the newer one of the row.
func TestNewest(t *testing.T) {
	t.Parallel()
	cli, sdk := `"entrypoint":"cli",`, `"entrypoint":"sdk-cli",`
	plain := conversation(cli, cli)
	padding := `{"type":"mode","sessionId":"s","pad":"` + strings.Repeat("y", 200_000) + "\"}\n"
	for _, tc := range []struct {
		name, file, text string
		picked           bool
		print            bool
	}{
		{"of a terminal", newer, plain, true, false},
		{"of -p", newer, conversation(sdk, sdk), false, false},
		{"of -p, for -p", newer, conversation(sdk, sdk), true, true},
		{"of a terminal, resumed with -p", newer, conversation(cli, sdk), true, false},
		{"of -p, resumed in a terminal", newer, conversation(sdk, cli), false, false},
		{"of the TypeScript SDK", newer, conversation(`"entrypoint":"sdk-ts",`, ""), false, false},
		{"of the Python SDK", newer, conversation(`"entrypoint":"sdk-py",`, ""), false, false},
		{"of an SDK to come", newer, conversation(`"entrypoint":"sdk-foo",`, ""), true, false},
		{"of an editor", newer, conversation(`"entrypoint":"claude-vscode",`, ""), true, false},
		{"of an old version", newer, conversation("", ""), true, false},
		{"entry point only later", newer, conversation("", sdk), false, false},
		{"in the background", newer, conversation(cli+`"sessionKind":"bg",`, cli), true, false},
		{"of a worker", newer, conversation(cli+`"sessionKind":"daemon",`, cli), false, false},
		{"of another kind of worker", newer, conversation(cli+`"sessionKind":"daemon-worker",`, cli), false, false},
		{"begun in another directory", newer, strings.ReplaceAll(plain, `"/w"`, `"/elsewhere"`), true, false},
		{"side chain", newer, strings.ReplaceAll(plain, `"isSidechain":false`, `"isSidechain":true`), false, false},
		{"long line first", newer, padding + plain, true, false},
		{"long line first, of -p", newer, padding + conversation(sdk, sdk), false, false},
		{"broken first line", newer, "not json\n" + plain, true, false},
		{"torn last line", newer, plain[:len(plain)-20], true, false},
		{"empty file", newer, "", true, false},
		{"blank lines", newer, "\n\n", false, false},
		{"no transcript", newer, "not json\n", false, false},
		{"no line of a session", newer, "{}", false, false},
		{"upper case", strings.ToUpper(newer), plain, true, false},
		{"of a subagent", "agent-bbbbbbbb", plain, false, false},
		{"other name", "hello", plain, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			config, cwd := t.TempDir(), t.TempDir()
			dir, err := ProjectDir(config, cwd)
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, older+extension), plain, 500*time.Second)
			write(t, filepath.Join(dir, tc.file+extension), tc.text, 100*time.Second)
			want := older
			if tc.picked {
				want = tc.file
			}
			if got, ok, err := Newest(config, cwd, tc.print); got != want || !ok || err != nil {
				t.Errorf("got %s, %v, %v, want %s", got, ok, err, want)
			}
		})
	}
}

func write(t *testing.T, path, text string, age time.Duration) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// TestNewestGoesByTheFile checks that the modification time of the file counts, not the
// times in its lines.
func TestNewestGoesByTheFile(t *testing.T) {
	t.Parallel()
	config, cwd := t.TempDir(), t.TempDir()
	if got, ok, err := Newest(config, cwd, false); ok || err != nil {
		t.Errorf("no project: got %s, %v, %v", got, ok, err)
	}
	dir, err := ProjectDir(config, cwd)
	if err != nil {
		t.Fatal(err)
	}
	text := conversation(`"entrypoint":"cli",`, "")
	write(t, filepath.Join(dir, older+extension), text, time.Hour)
	write(t, filepath.Join(dir, newer+extension), text, time.Minute)
	write(t, filepath.Join(dir, older+extension), text, time.Second)
	if got, ok, err := Newest(config, cwd, false); got != older || !ok || err != nil {
		t.Errorf("after a touch: got %s, %v, %v", got, ok, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "cccccccc-cccc-4ccc-8ccc-cccccccccccc"+extension), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, _, err := Newest(config, cwd, false); got != older || err != nil {
		t.Errorf("with a directory: got %s, %v", got, err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	config := t.TempDir()
	if _, ok := Find(config, newer); ok {
		t.Error("got a conversation although there is no project")
	}
	write(t, filepath.Join(config, "projects", "-one", older+extension), "", 0)
	write(t, filepath.Join(config, "projects", "-two", newer+extension), "", 0)
	write(t, filepath.Join(config, "projects", "-two", "title"+extension), "", 0)
	for id, want := range map[string]bool{older: true, newer: true, "title": false, "../-two/" + newer: false, "": false,
		"cccccccc-cccc-4ccc-8ccc-cccccccccccc": false} {
		if path, got := Find(config, id); got != want || got && !strings.HasSuffix(path, id+".jsonl") {
			t.Errorf("%q: %v", id, got)
		}
	}
}

func FuzzReadHead(f *testing.F) {
	f.Add(conversation(`"entrypoint":"cli",`, ""))
	f.Add("{\"sessionId\":\"s\",\"entrypoint\":7}\n\x00\n")
	f.Fuzz(func(t *testing.T, text string) {
		head, found, err := readHead(strings.NewReader(text))
		if err != nil || found != (head.SessionID != "") {
			t.Errorf("%q: %+v, %v, %v", text, head, found, err)
		}
	})
}
