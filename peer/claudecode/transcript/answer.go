package transcript

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxTail is how much of the end of a transcript Answer reads, in bytes. What is asked
// for was written moments ago.
const maxTail = 4 << 20

// Answer returns what a call of a tool has given the model back, as the transcript has
// it, and false while it has nothing of it. The answer to a call that the user has
// stopped is a text of Claude Code's that says so. The error is fs.ErrNotExist when
// there is no transcript.
func Answer(path, toolUse string) (text string, ok bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", false, fmt.Errorf("read transcript: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.Size() > maxTail {
		_, err = f.Seek(-maxTail, io.SeekEnd)
	}
	if err != nil {
		return "", false, fmt.Errorf("read transcript: %w", err)
	}
	for lines := bufio.NewReaderSize(f, 64<<10); ; {
		line, err := readLine(lines)
		if err == nil && bytes.Contains(line, []byte(toolUse)) { // a line without its end is still being written
			if text, ok := answerIn(line, toolUse); ok {
				return text, true, nil
			}
		}
		if errors.Is(err, io.EOF) {
			return "", false, nil
		}
		if err != nil {
			return "", false, fmt.Errorf("read transcript: %w", err)
		}
	}
}

// answerIn looks for the answer in a line. What a subagent did is not in the
// conversation.
func answerIn(text []byte, toolUse string) (string, bool) {
	var l struct {
		IsSidechain bool `json:"isSidechain"`
		Message     struct {
			Content []json.RawMessage `json:"content"`
		} `json:"message"`
	}
	if json.Unmarshal(text, &l) != nil || l.IsSidechain {
		return "", false
	}
	for _, raw := range l.Message.Content {
		var block struct {
			Type      string          `json:"type"`
			ToolUseID string          `json:"tool_use_id"`
			Content   json.RawMessage `json:"content"`
		}
		if json.Unmarshal(raw, &block) == nil && block.Type == "tool_result" && block.ToolUseID == toolUse {
			return textOf(block.Content), true
		}
	}
	return "", false
}

// textOf is the text of a content: a string, or a list of blocks.
func textOf(content json.RawMessage) string {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return text
	}
	var blocks []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(content, &blocks) // of another form there is no text
	var parts []string
	for _, b := range blocks {
		parts = append(parts, b.Text)
	}
	return strings.Join(parts, "\n")
}
