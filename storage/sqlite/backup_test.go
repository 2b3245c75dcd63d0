package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

// filled makes a database with n messages that wait, and their audit entries.
func filled(t *testing.T, path string, meshID wire.ID, n int) *Store {
	t.Helper()
	s := open(t, path)
	if err := errors.Join(s.Migrate(t.Context()), s.Claim(t.Context())); err != nil {
		t.Fatal(err)
	}
	commit(t, s, meshID, 1, n)
	return s
}

// commit stores n messages, each with an audit entry.
func commit(t *testing.T, s *Store, meshID wire.ID, first int64, n int) {
	t.Helper()
	head, err := s.AuditHead(t.Context(), meshID)
	if err != nil {
		t.Fatal(err)
	}
	b := batch(meshID, first, n, 2000)
	for range n {
		var e audit.Entry
		e, head = audit.Extend(head, audit.NewEvent(meshID, time.Now(), audit.Broker, audit.RoutedDetail{Priority: wire.Next}))
		b.Audit = append(b.Audit, e)
	}
	if _, err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// TestBackupWhileCommitting backs up a database to which another store commits all the time. It
// checks that every copy has only whole commits.
func TestBackupWhileCommitting(t *testing.T) {
	t.Parallel()
	dir, meshID := t.TempDir(), wire.ID{7}
	s := filled(t, dir+"/mesh.db", meshID, 100)
	defer s.Close()
	other := open(t, dir+"/mesh.db")
	defer other.Close()
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		for seq := int64(101); ctx.Err() == nil; seq += 10 {
			commit(t, s, meshID, seq, 10)
		}
	})
	defer wait.Wait()
	defer stop()
	for i := range 3 {
		path := filepath.Join(dir, "backup"+string(rune('0'+i)))
		called := false
		c, err := other.Backup(t.Context(), path, func(done, size int64) { called = done <= size && size > 0 })
		if err != nil {
			t.Fatal(err)
		}
		if !called || c.Waiting < 100 || c.Waiting%10 != 0 || c.Audit != c.Waiting || c.Schema != len(migrations) {
			t.Errorf("progress: %t, %+v", called, c)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() != c.Bytes {
			t.Errorf("got %v, error %v", info, err)
		}
		copied := open(t, path)
		if n := pending(t, copied, meshID); int64(n) != c.Waiting {
			t.Errorf("%d messages, want %d", n, c.Waiting)
		}
		if r, err := audit.VerifyMesh(t.Context(), copied, meshID); err != nil || r.Head.Seq != c.Audit {
			t.Errorf("got %+v, error %v", r, err)
		}
		if err := copied.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// filesIn lists a directory, hidden files included.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestBackupRefuses(t *testing.T) {
	t.Parallel()
	dir, out := t.TempDir(), t.TempDir()
	s := filled(t, dir+"/mesh.db", wire.ID{7}, 300)
	defer s.Close()
	there := out + "/there"
	if err := os.WriteFile(there, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", out+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{there, out + "/link", dir + "/mesh.db", out} {
		if _, err := s.Backup(t.Context(), path, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(there); err != nil || string(b) != "precious" {
		t.Errorf("got %q, error %v", b, err)
	}
	if _, err := s.Backup(t.Context(), out+"/none/mesh.db", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := s.Backup(ctx, out+"/new", func(int64, int64) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	// A file that appears at the last moment stays.
	_, err := s.Backup(t.Context(), out+"/late", func(done, size int64) {
		if done == size {
			if err := os.WriteFile(out+"/late", []byte("precious"), 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that appears: %v", err)
	}
	if got := filesIn(t, out); !slices.Equal(got, []string{"late", "link", "there"}) {
		t.Errorf("left behind: %v", got)
	}
	empty := open(t, dir+"/empty.db")
	defer empty.Close()
	if _, err := empty.Backup(t.Context(), out+"/empty", nil); err == nil || !strings.Contains(err.Error(), "not the database of a claudemesh broker") {
		t.Errorf("database of another program: %v", err)
	}
}

// backUp makes a backup of n messages in a file of its own.
func backUp(t *testing.T, meshID wire.ID, n int) (path string) {
	t.Helper()
	dir := t.TempDir()
	s := filled(t, dir+"/mesh.db", meshID, n)
	defer s.Close()
	path = dir + "/backup"
	if _, err := s.Backup(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRestore(t *testing.T) {
	t.Parallel()
	meshID := wire.ID{7}
	backup := backUp(t, meshID, 20)
	before, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "new", "mesh.db")
	r := Restoration{Backup: backup, Path: path, Complete: func(ctx context.Context, s *Store) error {
		_, err := s.Commit(ctx, batch(meshID, 21, 1, 10))
		return err
	}}
	done, err := Restore(t.Context(), r)
	if err != nil || done.Waiting != 21 || done.Aside != "" {
		t.Fatalf("got %+v, error %v", done, err)
	}
	s := open(t, path)
	defer s.Close()
	if err := s.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, s, meshID, 22, 5)

	// A broker uses the database.
	if _, err := Restore(t.Context(), r); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), r); !errors.Is(err, fs.ErrExist) {
		t.Errorf("without Replace: %v", err)
	}
	// Restore keeps the replaced database, even what is only in its WAL.
	r.Replace = true
	again := open(t, path)
	defer again.Close()
	commit(t, again, meshID, 27, 5)
	if done, err = Restore(t.Context(), r); err != nil || done.Aside == "" || done.Waiting != 21 {
		t.Fatalf("got %+v, error %v", done, err)
	}
	old := open(t, done.Aside)
	defer old.Close()
	if n := pending(t, old, meshID); n != 31 {
		t.Errorf("%d messages are in the old database, want 31", n)
	}
	if now, err := os.ReadFile(backup); err != nil || string(now) != string(before) {
		t.Errorf("the backup has changed: %v", err)
	}

	// A store that had opened the old file opens the new one, before it can claim it.
	if err := again.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("claimed the old file: %v", err)
	}
	if err := errors.Join(again.Migrate(t.Context()), again.Claim(t.Context())); err != nil {
		t.Error(err)
	}
	if n := pending(t, again, meshID); n != 21 {
		t.Errorf("%d messages, want 21", n)
	}
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	meshID := wire.ID{7}
	good := backUp(t, meshID, 200)
	change := func(name string, do func(b []byte) []byte) string {
		b, err := os.ReadFile(good)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, do(b), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sqlOf := func(name, query string) string {
		path := change(name, func(b []byte) []byte { return b })
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Exec(query); err != nil {
			t.Fatal(err)
		}
		return path
	}
	dir := t.TempDir()
	path := dir + "/mesh.db"
	s := filled(t, path, meshID, 3)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := filesIn(t, dir)
	for _, backup := range []string{
		change("cut", func(b []byte) []byte { return b[:len(b)/2] }),
		change("overwritten", func(b []byte) []byte { return append(b[:40960], append(make([]byte, 8192), b[49152:]...)...) }),
		change("text", func([]byte) []byte { return []byte("not a database") }),
		change("empty", func([]byte) []byte { return nil }),
		sqlOf("other", `DROP TABLE schema_version`),
		sqlOf("newer", `INSERT INTO schema_version (version, applied_at) VALUES (1000, 0)`),
		dir + "/none", path,
	} {
		if _, err := Restore(t.Context(), Restoration{Backup: backup, Path: path, Replace: true}); err == nil {
			t.Errorf("restored %s", filepath.Base(backup))
		}
		if got := filesIn(t, dir); !slices.Equal(got, want) {
			t.Errorf("%s: left behind: %v", filepath.Base(backup), got)
		}
	}
	s = open(t, path)
	defer s.Close()
	if n := pending(t, s, meshID); n != 3 {
		t.Errorf("%d messages, want the 3 from before", n)
	}
}

// TestRestoreOverDamage replaces a database that nothing can read, with files beside it that
// do not belong to the new one.
func TestRestoreOverDamage(t *testing.T) {
	t.Parallel()
	meshID := wire.ID{7}
	backup := backUp(t, meshID, 20)
	dir := t.TempDir()
	// A real WAL, of another database.
	other := filled(t, t.TempDir()+"/other.db", meshID, 50)
	defer other.Close()
	wal, err := os.ReadFile(other.path + "-wal")
	if err != nil || len(wal) == 0 {
		t.Fatal(err)
	}
	for _, damaged := range []bool{true, false} {
		path := filepath.Join(dir, "mesh.db")
		if err := os.WriteFile(path+"-wal", wal, 0o600); err != nil {
			t.Fatal(err)
		}
		if damaged {
			if err := os.WriteFile(path, []byte(strings.Repeat("damaged", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		done, err := Restore(t.Context(), Restoration{Backup: backup, Path: path, Replace: true})
		if err != nil || done.Aside == "" {
			t.Fatalf("got %+v, error %v", done, err)
		}
		if b, err := os.ReadFile(done.Aside + "-wal"); err != nil || string(b) != string(wal) {
			t.Errorf("the WAL was not kept: %v", err)
		}
		s := open(t, path)
		if n := pending(t, s, meshID); n != 20 {
			t.Errorf("%d messages, want 20", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPutBack checks that a database that could not be set aside, or that is put back, is as
// before, and that no other file stays.
func TestPutBack(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"refused", "put back"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "mesh.db")
		want := map[string]string{"mesh.db": "database", "mesh.db-wal": "newest commits"}
		for file, text := range want {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		obstacle := path + "-journal"
		if name == "refused" {
			if err := os.Mkdir(obstacle, 0o700); err != nil { // a directory can't have a second name
				t.Fatal(err)
			}
		}
		aside, err := setAside(path, time.Now())
		if (err != nil) != (name == "refused") {
			t.Fatalf("%s: set aside as %q, error %v", name, aside, err)
		}
		if err := putBack(aside, path); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = os.Remove(obstacle)
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != len(want) {
			t.Errorf("%s: got files %v, error %v", name, entries, err)
		}
		for file, text := range want {
			if got, err := os.ReadFile(filepath.Join(dir, file)); string(got) != text {
				t.Errorf("%s: %s contains %q, error %v", name, file, got, err)
			}
		}
	}
}

// TestPublishKeepsFile checks that a file which appears while a backup is made stays, and that the error says
// so and no more, also where no link can be made.
func TestPublishKeepsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	to := filepath.Join(dir, "backup.db")
	if err := os.WriteFile(to, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	// There is no file to make a link to, so that the link fails for another reason than the one at to.
	err := publish(filepath.Join(dir, "missing"), to)
	if !errors.Is(err, fs.ErrExist) || err.Error() != fs.ErrExist.Error() {
		t.Errorf("publish: %v, want %v", err, fs.ErrExist)
	}
	if text, err := os.ReadFile(to); err != nil || string(text) != "precious" {
		t.Errorf("the file has %q (%v)", text, err)
	}
}
