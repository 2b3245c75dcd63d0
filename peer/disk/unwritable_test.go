package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/claudemesh/claudemesh/peer/configdir"
)

func TestUnwritable(t *testing.T) {
	t.Parallel()
	const instead = ", or set CLAUDEMESH_CONFIG_DIR to another directory"
	dir := configdir.Dir(t.TempDir())
	if err := os.WriteFile(dir.Path("run"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := func(name string, reason error) error {
		return fmt.Errorf("do: %w", &fs.PathError{Op: "open", Path: dir.Path(name), Err: reason})
	}
	for _, tc := range []struct {
		err  error
		want string // DIR stands for the directory; "": not an error of that kind
	}{
		{file("x", syscall.ENOSPC), "the disk of DIR/x is full; make room on it, and try again"},
		{file("x.12.tmp", syscall.ENOSPC), "the disk of DIR is full; make room on it, and try again"},
		{file("x", syscall.EDQUOT), "your quota on the disk of DIR/x is used up; make room there, and try again"},
		{file("daemon.db", syscall.EROFS), "DIR/daemon.db is read-only, by its file system or by a mount; make it writable" + instead},
		{file("x", syscall.EACCES), "this user may not access DIR/x; check its owner and mode" + instead},
		{file("x", syscall.EPERM), "this user may not access DIR/x; check its owner and mode" + instead},
		{&os.LinkError{Op: "rename", Old: dir.Path("1.tmp"), New: dir.Path("daemon.json"), Err: syscall.EBUSY},
			"DIR/daemon.json can't be replaced while something is mounted on it; unmount that" + instead},
		{file("daemon.lock", syscall.EISDIR), "DIR/daemon.lock is a directory in the place of a file; move it away" + instead},
		{file("run/1.json", syscall.ENOTDIR), "DIR/run is a file in the place of a directory; move it away" + instead},
		{file("x", syscall.EIO), "the disk of DIR/x reports errors; see the system's log" + instead},
		{&fs.PathError{Op: "open", Path: "/elsewhere/x", Err: syscall.EROFS}, "/elsewhere/x is read-only, by its file system or by a mount; make it writable"},
		{file("x", fs.ErrNotExist), ""},
		{syscall.EACCES, ""}, // may come from a connection
		{context.Canceled, ""},
		{nil, ""},
	} {
		err := Unwritable(dir, tc.err)
		var e *UnwritableError
		if tc.want == "" {
			if errors.As(err, &e) || !errors.Is(err, tc.err) {
				t.Errorf("%v: %v", tc.err, err)
			}
			continue
		}
		if !errors.As(err, &e) || !errors.Is(err, tc.err) || strings.ReplaceAll(e.Advice, string(dir), "DIR") != tc.want {
			t.Errorf("%v: %v\nwant %s", tc.err, err, tc.want)
		}
		if again := Unwritable(dir, fmt.Errorf("again: %w", err)); strings.Count(again.Error(), e.Advice) != 1 {
			t.Errorf("the advice is repeated: %v", again)
		}
	}
}

// TestUnwritableDatabase checks SQLite's errors, which have neither a path nor the system's
// error.
func TestUnwritableDatabase(t *testing.T) {
	t.Parallel()
	dir := configdir.Dir(t.TempDir())
	path := dir.Path("x.db")
	db, err := Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, tc := range []struct{ statement, want string }{
		{`CREATE TABLE x (y)`, ""},
		{`CREATE TABLE x (y)`, ""}, // the table exists already
		{`PRAGMA query_only = ON`, ""},
		{`INSERT INTO x VALUES (1)`, " is read-only"},
		{`PRAGMA query_only = OFF`, ""},
		{`PRAGMA max_page_count = 2`, ""},
		{`INSERT INTO x VALUES (randomblob(100000))`, "the disk of " + string(dir) + " is full"},
	} {
		_, err := db.ExecContext(t.Context(), tc.statement)
		var e *UnwritableError
		if is := errors.As(Unwritable(dir, err), &e); is != (tc.want != "") || is && !strings.Contains(e.Advice, tc.want) {
			t.Errorf("%s: %v", tc.statement, Unwritable(dir, err))
		}
	}
}

func TestWritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []configdir.Dir{configdir.Dir(dir), configdir.Dir(filepath.Join(dir, "not", "there"))} {
		if err := Writable(d); err != nil {
			t.Errorf("%s: %v", d, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var e *UnwritableError
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Writable(configdir.Dir(file)); !errors.As(err, &e) || !strings.Contains(e.Advice, file+" is a file in the place of a directory") {
		t.Errorf("a file: %v", err)
	}
}
