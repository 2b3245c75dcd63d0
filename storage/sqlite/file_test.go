package sqlite

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/internal/disktest"
	"github.com/claudemesh/claudemesh/journal"
	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/queue"
	"github.com/claudemesh/claudemesh/storage"
	"github.com/claudemesh/claudemesh/wire"
)

var ids wire.IDSource

// batch makes n messages with bodies of the given size to the mailbox "s/a".
func batch(meshID wire.ID, firstSeq int64, n, size int) *journal.Batch {
	b := &journal.Batch{}
	for i := range n {
		b.Messages = append(b.Messages, &queue.Accepted{
			Message: queue.Message{ID: ids.New(time.Now()), MeshID: meshID, SenderMember: wire.ID{1}, Priority: wire.Next,
				CreatedAt: time.Now(), Ciphertext: strings.Repeat("x", size)},
			Recipients: []queue.Recipient{{Seq: firstSeq + int64(i), Mailbox: queue.Mailbox{Mesh: meshID, Name: "s/a"}}},
		})
	}
	return b
}

func pending(t *testing.T, s *Store, meshID wire.ID) int {
	t.Helper()
	waiting, err := s.Backlog(t.Context(), queue.Mailbox{Mesh: meshID, Name: "s/a"}, 0, false, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return len(waiting)
}

func TestOpenMakesPrivateFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "deeper")
	s := open(t, filepath.Join(dir, "mesh.db"))
	defer s.Close()
	if err := errors.Join(s.Claim(t.Context()), s.Migrate(t.Context())); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"..": 0o700, "": 0o700, "mesh.db": 0o600, "mesh.db-wal": 0o600,
		"mesh.db-shm": 0o600, "mesh.db.lock": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", name, got, want)
		}
	}
}

func TestOpenAwkwardPaths(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "q?mode=memory.db", "h#.db", "p%20.db", "ü🦊.db", "'\";.db", "&_pragma=x.db"} {
		path := filepath.Join(t.TempDir(), name)
		s := open(t, path)
		if err := s.Migrate(t.Context()); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%q was not written: %v", name, err)
		}
	}
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "mesh.db"), filepath.Dir(file), file} {
		if s, err := Open(path); err == nil {
			s.Close()
			t.Errorf("opened %q", path)
		}
	}
}

// TestSecondOpenKeepsLocks checks that a database that a process opens twice stays locked. Without
// its locks, another process, such as a backup, could delete the write-ahead log that is in use.
func TestSecondOpenKeepsLocks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "mesh.db")
	migrated(t, path) // open until the test ends
	second := open(t, path)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if !disktest.Locked(t, path) {
		t.Error("the first Store has lost its locks")
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "mesh.db"))
	defer s.Close()
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
		for name, db := range map[string]*sql.DB{"writer": s.write.db, "reader": s.read.db} {
			var got string
			if err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s is %q, %v; want %q", name, pragma, got, err, want)
			}
		}
	}
}

// TestFullDisk limits the size of the database instead of the disk.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := migrated(t, filepath.Join(t.TempDir(), "mesh.db"))
	meshID := ids.New(time.Now())
	if _, err := s.Commit(t.Context(), batch(meshID, 1, 10, 1000)); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		t.Helper()
		err := s.update(t.Context(), func(tx tx) error {
			var got int
			return tx.row(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages)).Scan(&got)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(100)
	full := batch(meshID, 100, 200, 10_000)
	for range 3 {
		if _, err := s.Commit(t.Context(), full); err == nil {
			t.Fatal("a commit of 2 MB to a database of at most 400 kB succeeded")
		}
		if n := pending(t, s, meshID); n != 10 {
			t.Fatalf("%d deliveries after a failed commit, want 10", n)
		}
	}
	if _, err := s.Commit(t.Context(), batch(meshID, 11, 1, 10)); err != nil {
		t.Errorf("a batch that fits: %v", err)
	}
	limit(1_000_000)
	if _, err := s.Commit(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if n := pending(t, s, meshID); n != 211 {
		t.Errorf("%d deliveries, want 211", n)
	}
}

// TestClaimOfAnotherProcess runs itself again in a process that claims the database and is
// then killed.
func TestClaimOfAnotherProcess(t *testing.T) {
	const variable = "CLAUDEMESH_TEST_CLAIM"
	if path := os.Getenv(variable); path != "" {
		s := open(t, path)
		if err := s.Claim(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Println("claimed")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	path := filepath.Join(t.TempDir(), "mesh.db")
	s := open(t, path)
	defer s.Close()

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestClaimOfAnotherProcess$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	stdin, err := cmd.StdinPipe() // held open, so that the process stays
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "claimed\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	if err := s.Claim(t.Context()); !errors.Is(err, storage.ErrInUse) {
		t.Errorf("claim while another process has it: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	if err := s.Claim(t.Context()); err != nil {
		t.Errorf("claim after the other's death: %v", err)
	}
}

// TestCommitSurvivesKill kills a process that commits, and looks for everything that the
// process reported as stored.
func TestCommitSurvivesKill(t *testing.T) {
	const variable = "CLAUDEMESH_TEST_KILL"
	meshID := wire.ID{7}
	if path := os.Getenv(variable); path != "" {
		s := open(t, path)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for seq := int64(1); ; seq++ {
			if _, err := s.Commit(t.Context(), batch(meshID, seq, 1, 1000)); err != nil {
				t.Fatal(err)
			}
			fmt.Println(seq)
		}
	}
	path := filepath.Join(t.TempDir(), "mesh.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCommitSurvivesKill$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if acknowledged++; acknowledged == 500 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // says that it was killed
	s := open(t, path)
	defer s.Close()
	if n := pending(t, s, meshID); n < acknowledged || acknowledged < 500 {
		t.Errorf("%d messages are there, %d were acknowledged", n, acknowledged)
	}
}

// TestReasons checks that errors tell why the storage can't store, whatever it was asked.
func TestReasons(t *testing.T) {
	t.Parallel()
	s := migrated(t, filepath.Join(t.TempDir(), "mesh.db"))
	for name, do := range map[string]func() error{
		"migrate": func() error { return s.Migrate(t.Context()) },
		"commit":  func() error { _, err := s.Commit(t.Context(), batch(wire.ID{7}, 1, 1, 10)); return err },
		"redeem": func() error {
			_, _, err := s.Redeem(t.Context(), wire.ID{8}, mesh.Member{ID: wire.ID{9}, MeshID: wire.ID{7}})
			return err
		},
	} {
		err := s.update(t.Context(), func(t tx) error {
			_, err := t.conn.ExecContext(t.ctx, `PRAGMA query_only = 1`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := do(); storage.ReasonOf(err) != storage.ReadOnly {
			t.Errorf("%s: got %v with reason %s, want reason %s", name, err, storage.ReasonOf(err), storage.ReadOnly)
		}
	}
}
