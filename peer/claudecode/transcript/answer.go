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

// maxTail is how many bytes of the end of a transcript Answer reads. The answer was written
// moments ago.
const maxTail = 4 << 20

// Answer returns the result of a tool call from the transcript. It reports false if the
// transcript doesn't contain the result yet. If the user has stopped the call, the result is
// a text by Claude Code that says so. If there is no transcript, the error is
// fs.ErrNotExist.
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
		if err == nil && bytes.Contains(line, []byte(toolUse)) { // skip an incomplete last line
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

// answerIn looks for the result in a line. It skips lines of subagents, which are not part of
// the conversation.
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

// textOf returns the text of a content, which is a string or a list of blocks.
func textOf(content json.RawMessage) string {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return text
	}
	var blocks []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(content, &blocks) // other forms contain no text
	var parts []string
	for _, b := range blocks {
		parts = append(parts, b.Text)
	}
	return strings.Join(parts, "\n")
}
