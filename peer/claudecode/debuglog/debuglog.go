// Package debuglog is the debug log of the programs that Claude Code runs. It is on only with
// CLAUDEMESH_HOOK_DEBUG=1.
//
// This package is for claudemesh itself; outsiders should not rely on it.
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

// Variable is the environment variable that turns the log on, unless it is "" or "0".
const Variable = "CLAUDEMESH_HOOK_DEBUG"

const (
	fileName = "hook.log"
	limit    = 1 << 20 // in bytes; Open truncates a larger file
)

// Open returns a function that logs to out and to hook.log in the directory, and a function to
// call at the end. If the log is off, logf does nothing. logf is safe for concurrent use.
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
