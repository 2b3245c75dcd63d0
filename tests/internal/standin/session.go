package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// session is one conversation.
type session struct {
	id         string
	transcript string // the path of the transcript
	entrypoint string
	cwd        string
	messages   []message
	unwritten  int // index of the first message that isn't in the transcript yet
}

// message is an entry of a conversation, in the API's format.
type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	ToolUseID string          `json:"tool_use_id,omitempty"`
	Content   []block         `json:"content,omitempty"`
	IsError   bool            `json:"is_error,omitempty"`
}

func text(s string) block { return block{Type: "text", Text: s} }

// openSession finds or creates the session that the command line asks for. source is the source for
// the SessionStart hooks.
func openSession(o options) (s *session, source string, err error) {
	cwd, err := workingDir()
	if err != nil {
		return nil, "", err
	}
	dir := filepath.Join(configDir(), "projects", encode(cwd))
	s = &session{id: o.sessionID, entrypoint: o.entrypoint(), cwd: cwd}
	old := ""
	switch {
	case o.resume != "":
		if old = find(dir, o.resume); old == "" {
			return nil, "", fmt.Errorf("No conversation found with session ID: %s", o.resume)
		}
	case o.proceed:
		if old = newest(dir, o.print); old == "" && !o.print {
			return nil, "", errors.New("No conversation found to continue")
		}
	}
	source = "startup"
	if old != "" {
		if s.messages, err = load(old); err != nil {
			return nil, "", err
		}
		source = "resume"
		if !o.fork {
			s.id = strings.TrimSuffix(filepath.Base(old), ".jsonl")
			s.transcript, s.unwritten = old, len(s.messages)
			return s, source, nil
		}
		source = "fork"
	}
	if s.id == "" {
		s.id = newUUID()
	}
	s.transcript = filepath.Join(dir, s.id+".jsonl")
	if _, err := os.Stat(s.transcript); err == nil {
		return nil, "", fmt.Errorf("Error: Session ID %s is already in use.", s.id)
	}
	return s, source, nil
}

// workingDir returns the working directory with symbolic links resolved.
func workingDir() (string, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(cwd)
}

// encode turns a path into a folder name, in UTF-16 units like JavaScript.
func encode(path string) string {
	units := utf16.Encode([]rune(path))
	var hash int32
	name := make([]byte, len(units))
	for i, unit := range units {
		hash = hash*31 + int32(unit)
		name[i] = '-'
		if c := byte(unit); unit < 128 && (c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
			name[i] = c
		}
	}
	if len(name) <= 200 {
		return string(name)
	}
	return string(name[:200]) + "-" + strconv.FormatInt(max(int64(hash), -int64(hash)), 36)
}

// find returns the transcript of a session, in this project's folder or else in any other.
func find(dir, id string) string {
	if !uuid.MatchString(id) {
		return ""
	}
	here := filepath.Join(dir, id+".jsonl")
	if _, err := os.Stat(here); err == nil {
		return here
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", id+".jsonl"))
	if err != nil || len(files) == 0 {
		return ""
	}
	return files[0]
}

// newest returns the most recently changed transcript. Transcripts of -p count only if all is set.
func newest(dir string, all bool) string {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return ""
	}
	best, latest := "", time.Time{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err == nil && info.ModTime().After(latest) && (all || entrypointOf(file) != "sdk-cli") {
			best, latest = file, info.ModTime()
		}
	}
	return best
}

// line is an entry of a transcript.
type line struct {
	Type        string   `json:"type"`
	Message     *message `json:"message,omitempty"`
	UUID        string   `json:"uuid"`
	IsSidechain bool     `json:"isSidechain"`
	Timestamp   string   `json:"timestamp"`
	UserType    string   `json:"userType"`
	Entrypoint  string   `json:"entrypoint"`
	Cwd         string   `json:"cwd"`
	SessionID   string   `json:"sessionId"`
	Version     string   `json:"version"`
	GitBranch   string   `json:"gitBranch"`
}

func lines(file string, each func(line) (more bool)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		var l line
		if json.Unmarshal(scanner.Bytes(), &l) == nil && !each(l) {
			return nil
		}
	}
	return scanner.Err()
}

func entrypointOf(file string) (entrypoint string) {
	_ = lines(file, func(l line) bool {
		entrypoint = l.Entrypoint
		return entrypoint == ""
	})
	return entrypoint
}

func load(file string) (messages []message, err error) {
	err = lines(file, func(l line) bool {
		if l.Message != nil {
			messages = append(messages, *l.Message)
		}
		return true
	})
	return messages, err
}

// add appends to the conversation.
func (s *session) add(m message) { s.messages = append(s.messages, m) }

// save appends new messages to the transcript. The first turn creates the transcript.
func (s *session) save() error {
	if err := os.MkdirAll(filepath.Dir(s.transcript), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(s.transcript, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for ; s.unwritten < len(s.messages); s.unwritten++ {
		m := s.messages[s.unwritten]
		b, err := json.Marshal(line{
			Type: m.Role, Message: &m, UUID: newUUID(), Timestamp: time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
			UserType: "external", Entrypoint: s.entrypoint, Cwd: s.cwd, SessionID: s.id, Version: version, GitBranch: "HEAD",
		})
		if err != nil {
			return err
		}
		if _, err := f.Write(append(b, '\n')); err != nil {
			return err
		}
	}
	return nil
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
