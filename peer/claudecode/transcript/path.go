package transcript

import (
	"fmt"
	"path/filepath"
	"strconv"
	"unicode/utf16"
)

// maxEncoded is how many characters of an encoded path Claude Code keeps.
const maxEncoded = 200

// encode returns the name of the directory for the conversations of a working directory. Each
// UTF-16 unit that isn't an ASCII letter or digit becomes a dash. A longer name is cut to
// maxEncoded, followed by a hash of the whole path.
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

// ProjectDir returns the directory for the conversations that were started in cwd, which must
// exist. It resolves symbolic links in cwd. configDir is Claude Code's directory.
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
