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

// headless are the entry points of conversations that nobody sat before: -p and the
// SDKs. An interactive --continue passes them over; other entry points, an editor's
// for example, count as interactive.
var headless = []string{"sdk-cli", "sdk-ts", "sdk-py"}

// background are the kinds of sessions that --continue passes over.
var background = []string{"daemon", "daemon-worker"}

// Newest returns the session that `claude --continue` goes on with when it is started
// in cwd: the one whose file was written last. Those of -p, of SDKs and of workers
// don't count, unless print says that claude runs with -p, too. It returns false
// when there is none.
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

// list returns the transcripts of a project, the newest first.
func list(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list transcripts: %w", err)
	}
	var files []file
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), extension)
		if !ok || len(id) != 36 || uuid.Validate(id) != nil {
			continue // of a subagent, or nothing of Claude Code's
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // gone by now
		}
		files = append(files, file{e.Name(), info.ModTime()})
	}
	slices.SortStableFunc(files, func(a, b file) int { return b.written.Compare(a.written) })
	return files, nil
}

// counts tells whether --continue considers a transcript. What decides is said on
// the first line of the conversation itself.
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
		// Empty files count; files of anything else than transcript lines don't.
		info, err := f.Stat()
		return err == nil && info.Size() == 0, err
	}
	if head.IsSidechain || slices.Contains(background, head.SessionKind) {
		return false, nil
	}
	return print || !slices.Contains(headless, head.Entrypoint), nil
}

// line is what matters of a transcript's line.
type line struct {
	SessionID   string `json:"sessionId"`
	Entrypoint  string `json:"entrypoint"`
	SessionKind string `json:"sessionKind"`
	IsSidechain bool   `json:"isSidechain"`
}

// maxLine bounds what is read of one line, in bytes. Longer ones hold pictures and
// tool results; they are passed over.
const maxLine = 8 << 20

// readHead returns the first line that says how its session was entered, else the
// last that belongs to a session; false when no line does.
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

// readLine returns the next line, or nothing for one that is too long.
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

// Find returns the transcript of that session, begun in any working directory, which is
// where --resume looks; false when there is none.
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
