package configdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/internal/system"
)

const (
	// tempSuffix ends the names of temporary files, which only their program uses.
	tempSuffix = ".tmp"
	// abandonedAfter is the age after which a temporary file must be one that a crash has left
	// behind: no program needs it for so long.
	abandonedAfter = time.Hour
)

// Replace creates or replaces a file. After a crash of this program the file has either the old
// text or the new one, never a part. If durable, this also holds after a loss of power.
func Replace(path string, text []byte, mode fs.FileMode, durable bool) (err error) {
	dir, name := filepath.Dir(path), "."+filepath.Base(path)+"."
	removeAbandoned(dir, name)
	tmp, err := os.CreateTemp(dir, name+"*"+tempSuffix) // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // does nothing after the rename
	_, err = tmp.Write(text)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil && durable {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil || !durable {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename in the directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return system.SyncDir(dir)
}

// removeAbandoned removes the temporary files in a directory that are old and whose names begin with
// a text. Errors don't matter: the next call tries again.
func removeAbandoned(dir, begins string) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), begins) {
			removeIfAbandoned(filepath.Join(dir, entry.Name()), entry)
		}
	}
}

func removeIfAbandoned(path string, entry fs.DirEntry) {
	if !isTemporary(entry.Name()) || !entry.Type().IsRegular() {
		return
	}
	if info, err := entry.Info(); err == nil && time.Since(info.ModTime()) > abandonedAfter {
		_ = os.Remove(path)
	}
}

// isTemporary reports whether a file has a name like those that programs of claudemesh give to their
// temporary files: <text>.<number>.tmp. Files of others may be in the directory, too.
func isTemporary(name string) bool {
	name, is := strings.CutSuffix(name, tempSuffix)
	dot := strings.LastIndexByte(name, '.')
	return is && dot > 0 && dot < len(name)-1 && strings.Trim(name[dot+1:], "0123456789") == ""
}
