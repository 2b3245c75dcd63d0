package transcript

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

const extension = ".jsonl"

// headless lists the entry points of conversations without a user: -p and the SDKs. An
// interactive --continue skips them. Other entry points, such as an editor, count as
// interactive.
var headless = []string{"sdk-cli", "sdk-ts", "sdk-py"}

// background lists the kinds of sessions that --continue skips.
var background = []string{"daemon", "daemon-worker"}

// Newest returns the session that `claude --continue` continues in cwd: the one whose file was
// written last. Sessions of background workers don't count. Sessions of -p and of SDKs count
// only if print says that claude runs with -p. Newest reports false if there is none.
func Newest(configDir, cwd string, print bool) (sessionID string, ok bool, err error) {
	dir, err := ProjectDir(configDir, cwd)
	if err != nil {
		return "", false, err
	}
	files, err := list(dir)
	if err != nil {
		return "", false, err
	}
	for _, f := range files {
		fits, err := counts(filepath.Join(dir, f.name), print)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", false, fmt.Errorf("read transcript: %w", err)
		}
		if fits {
			return strings.TrimSuffix(f.name, extension), true, nil
		}
	}
	return "", false, nil
}

type file struct {
	name    string
	written time.Time
}

// list returns the transcripts of a project, newest first.
func list(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list transcripts: %w", err)
	}
	var files []file
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), extension)
		if !ok || len(id) != 36 || uuid.Validate(id) != nil {
			continue // the transcript of a subagent, or not a transcript
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // removed in the meantime, or not a file
		}
		files = append(files, file{e.Name(), info.ModTime()})
	}
	slices.SortStableFunc(files, func(a, b file) int { return b.written.Compare(a.written) })
	return files, nil
}

// counts reports whether --continue considers a transcript. The first line of the conversation
// decides.
func counts(path string, print bool) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head, found, err := readHead(f)
	if err != nil {
		return false, err
	}
	if !found {
		// Empty files count; files without any transcript line don't.
		info, err := f.Stat()
		return err == nil && info.Size() == 0, err
	}
	if head.IsSidechain || slices.Contains(background, head.SessionKind) {
		return false, nil
	}
	return print || !slices.Contains(headless, head.Entrypoint), nil
}

// line holds the relevant fields of a transcript line.
type line struct {
	SessionID   string `json:"sessionId"`
	Entrypoint  string `json:"entrypoint"`
	SessionKind string `json:"sessionKind"`
	IsSidechain bool   `json:"isSidechain"`
}

// maxLine is the maximum length of a line in bytes. Longer lines, which contain pictures and
// tool results, are skipped.
const maxLine = 8 << 20

// readHead returns the first line with an entry point, or else the last line that belongs to a
// session. It reports false if there is none.
func readHead(r io.Reader) (head line, found bool, err error) {
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		text, err := readLine(lines)
		if err != nil && !errors.Is(err, io.EOF) {
			return head, found, err
		}
		var l line
		if json.Unmarshal(text, &l) == nil && l.SessionID != "" {
			head, found = l, true
			if l.Entrypoint != "" {
				return head, found, nil
			}
		}
		if err != nil {
			return head, found, nil //nolint:nilerr // the end of the file
		}
	}
}

// readLine returns the next line. A line that is too long becomes empty.
func readLine(r *bufio.Reader) ([]byte, error) {
	var text bytes.Buffer
	for {
		part, err := r.ReadSlice('\n')
		if text.Len() <= maxLine {
			text.Write(part)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if text.Len() > maxLine {
			text.Reset()
		}
		return text.Bytes(), err
	}
}

// Find returns the transcript of a session, in whatever working directory it was started;
// --resume finds the same. It reports false if there is none.
func Find(configDir, sessionID string) (path string, ok bool) {
	if uuid.Validate(sessionID) != nil || len(sessionID) != 36 {
		return "", false
	}
	projects, err := os.ReadDir(filepath.Join(configDir, "projects"))
	if err != nil {
		return "", false
	}
	for _, p := range projects {
		path := filepath.Join(configDir, "projects", p.Name(), sessionID+extension)
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
	}
	return "", false
}
