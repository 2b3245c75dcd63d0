package peer

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

func openInbox(t testing.TB, dir Dir) *Inbox {
	t.Helper()
	b, err := OpenInbox(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestInboxKeepsMessagesInOrderAndOnce(t *testing.T) {
	t.Parallel()
	dir := Dir(t.TempDir())
	b := openInbox(t, dir)
	alice := newKey(t).Public()
	now := time.UnixMilli(1_795_460_363_351)
	for i := range 5 {
		m := Incoming{MessageID: fmt.Sprint("m", i), Sender: alice, Sealing: Direct, Body: []byte{'a' + byte(i)}, CreatedAt: now, Name: "alice", Priority: "next"}
		for _, want := range []bool{true, false} {
			if has, err := b.Has(t.Context(), Mailbox{MeshID: "mesh"}, &m); err != nil || has == want {
				t.Fatalf("message %d: has it %v, %v", i, has, err)
			}
			if added, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &m, now); err != nil || added != want {
				t.Fatalf("message %d: added %v, %v", i, added, err)
			}
		}
	}
	unopened := Incoming{MessageID: "m0", Sender: newKey(t).Public(), Sealing: Unopened, Err: errors.New("no key"), CreatedAt: now}
	if added, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &unopened, now); err != nil || !added {
		t.Fatalf("added %v, %v", added, err)
	}
	if added, err := b.Add(t.Context(), Mailbox{MeshID: "another"}, &unopened, now); err != nil || !added {
		t.Fatalf("another mesh: added %v, %v", added, err)
	}
	b.Close()

	b = openInbox(t, dir) // it is on disk
	list, err := b.List(t.Context(), "mesh", ListOptions{})
	if err != nil || len(list) != 6 {
		t.Fatalf("got %d, %v", len(list), err)
	}
	for i := range 5 {
		if s := list[i]; s.Body != string(rune('a'+i)) || s.From != "alice" || s.Read || s.Sender != alice.String() || !s.CreatedAt.Equal(now) || s.Sealing != Direct {
			t.Errorf("message %d: %+v", i, s)
		}
	}
	if s := list[5]; s.Error != "no key" || s.Body != "" || s.Sealing != Unopened || s.From != unopened.Sender.Short() || s.Member != "" {
		t.Errorf("got %+v", s)
	}
	if err := b.MarkRead(t.Context(), list[:4], now); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		o    ListOptions
		want int
		from int // index of the first
	}{
		{"unread", ListOptions{}, 2, 4}, {"all", ListOptions{All: true}, 6, 0}, {"the newest of all", ListOptions{All: true, Limit: 2}, 2, 4},
		{"the newest unread", ListOptions{Limit: 1}, 1, 5}, {"after", ListOptions{All: true, After: list[2].ID}, 3, 3},
	} {
		got, err := b.List(t.Context(), "mesh", tc.o)
		if err != nil || len(got) != tc.want || got[0].ID != list[tc.from].ID {
			t.Errorf("%s: got %+v, %v", tc.name, got, err)
		}
	}
}

func TestInboxFilesAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	dir := Dir(t.TempDir())
	b := openInbox(t, dir)
	if _, err := b.Add(t.Context(), Mailbox{MeshID: "m"}, &Incoming{MessageID: "m"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"inbox.db", "inbox.db-wal", "inbox.db-shm"} {
		if info, err := os.Stat(dir.Path(name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestInboxOfSeveralProcesses(t *testing.T) {
	t.Parallel()
	dir := Dir(t.TempDir())
	alice := newKey(t).Public()
	var group sync.WaitGroup
	var mu sync.Mutex
	added := 0
	for range 4 {
		b := openInbox(t, dir) // a database handle of its own, as a process has
		group.Go(func() {
			for i := range 25 {
				isNew, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &Incoming{MessageID: fmt.Sprint(i), Sender: alice, Body: []byte("x")}, time.Now())
				if err != nil {
					t.Error(err)
				}
				if isNew {
					mu.Lock()
					added++
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	list, err := openInbox(t, dir).List(t.Context(), "mesh", ListOptions{})
	if err != nil || len(list) != 25 || added != 25 {
		t.Errorf("%d stored, %d new, %v", len(list), added, err)
	}
}
