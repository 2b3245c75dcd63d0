package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// snapshot is a file as it was found; Text is nil when there was none.
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

// put makes the file be what the snapshot says, at once. Where the path is a symbolic
// link, what it points to is replaced.
func (s snapshot) put(path string) error {
	if have, err := take(path); err == nil && s.same(have) {
		return nil
	}
	if !s.there() {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("restore Claude Code's files: %w", err)
		}
		return nil
	}
	if err := replace(target(path), s.Text); err != nil {
		return fmt.Errorf("write Claude Code's files: %w", err)
	}
	return nil
}

// target follows the symbolic links of a file, also to where nothing is yet.
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

// replace keeps the mode of the file. A new one is readable for all, as Claude Code
// makes it.
func replace(path string, text []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // does nothing after the rename
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
