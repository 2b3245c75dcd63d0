package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/claudemesh/claudemesh/peer/configdir"
)

// snapshot is the content of a file. Text is nil if the file doesn't exist.
type snapshot struct {
	Text []byte `json:"text"`
}

func (s snapshot) there() bool { return s.Text != nil }

func (s snapshot) same(other snapshot) bool {
	return s.there() == other.there() && bytes.Equal(s.Text, other.Text)
}

func take(path string) (snapshot, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return snapshot{}, nil
	}
	if err != nil {
		return snapshot{}, fmt.Errorf("read Claude Code's files: %w", err)
	}
	if text == nil {
		text = []byte{}
	}
	return snapshot{text}, nil
}

// put atomically restores the file. If the path is a symbolic link, put replaces or removes the
// file that it points to, and the link stays.
func (s snapshot) put(path string) error {
	if have, err := take(path); err == nil && s.same(have) {
		return nil
	}
	path = target(path)
	if !s.there() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restore Claude Code's files: %w", err)
		}
		return nil
	}
	if err := replace(path, s.Text); err != nil {
		return fmt.Errorf("write Claude Code's files: %w", err)
	}
	return nil
}

// target follows the symbolic links of a file, even if the last one points to nothing.
func target(path string) string {
	for range 40 {
		next, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return path
}

// replace keeps the mode of the file. A new file gets mode 0644, like Claude Code's own.
func replace(path string, text []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return configdir.Replace(path, text, mode, true)
}
