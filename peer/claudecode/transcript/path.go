package transcript

import (
	"fmt"
	"path/filepath"
	"strconv"
	"unicode/utf16"
)

// maxEncoded is how many characters of an encoded path Claude Code keeps.
const maxEncoded = 200

// encode returns the name of the directory for the conversations of a working
// directory: each UTF-16 unit that is no ASCII letter or digit becomes a dash. A path
// of more than 200 units is cut there, and a hash of all of it tells it from others.
func encode(path string) string {
	units := utf16.Encode([]rune(path))
	name := make([]byte, len(units))
	var hash int32
	for i, u := range units {
		hash = hash*31 + int32(u)
		name[i] = '-'
		if u >= 'a' && u <= 'z' || u >= 'A' && u <= 'Z' || u >= '0' && u <= '9' {
			name[i] = byte(u)
		}
	}
	if len(name) <= maxEncoded {
		return string(name)
	}
	return string(name[:maxEncoded]) + "-" + strconv.FormatInt(max(int64(hash), -int64(hash)), 36)
}

// ProjectDir returns the directory for the conversations that were begun in cwd, an
// existing directory; symbolic links in it are resolved. configDir is Claude Code's
// own directory.
func ProjectDir(configDir, cwd string) (string, error) {
	path, err := filepath.Abs(cwd)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", fmt.Errorf("resolve working directory: %w", err)
	}
	return filepath.Join(configDir, "projects", encode(path)), nil
}
