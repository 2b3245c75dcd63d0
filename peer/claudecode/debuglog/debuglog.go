// Package debuglog has the programs that Claude Code runs say what they do, to those
// who look for a fault: with CLAUDEMESH_HOOK_DEBUG=1, and not else.
package debuglog

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/peer/configdir"
	"github.com/claudemesh/claudemesh/visible"
)

// Variable names the environment variable that turns the log on; "" and "0" are off.
const Variable = "CLAUDEMESH_HOOK_DEBUG"

const (
	fileName = "hook.log"
	limit    = 1 << 20 // bytes, beyond which the file begins anew
)

// Open returns what to log with, to out and to hook.log in the directory, and what to
// call at the end. Nothing is logged unless CLAUDEMESH_HOOK_DEBUG asks for it. The log
// may be used by several goroutines at once.
func Open(dir configdir.Dir, who string, out io.Writer) (logf func(string, ...any), done func()) {
	if v := os.Getenv(Variable); v == "" || v == "0" {
		return func(string, ...any) {}, func() {}
	}
	var file io.Writer = io.Discard
	done = func() {}
	if f, err := open(dir); err == nil {
		file, done = f, func() { _ = f.Close() }
	} else {
		fmt.Fprintln(out, "claudemesh:", err)
	}
	return func(format string, args ...any) {
		line := visible.Line(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " | "), visible.People)
		fmt.Fprintf(out, "claudemesh %s: %s\n", who, line)
		fmt.Fprintf(file, "%s %s[%d]: %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), who, os.Getpid(), line)
	}, done
}

func open(dir configdir.Dir) (*os.File, error) {
	if dir == "" {
		return nil, os.ErrNotExist
	}
	if err := dir.Make(); err != nil {
		return nil, err
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(dir.Path(fileName)); err == nil && info.Size() > limit {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(dir.Path(fileName), flags, 0o600)
}
