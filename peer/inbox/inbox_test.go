package inbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
)

func openInbox(t testing.TB, dir peer.Dir) *Inbox {
	t.Helper()
	b, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestInboxKeepsMessagesInOrderAndOnce(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(t.TempDir())
	b := openInbox(t, dir)
	alice := newKey(t).Public()
	now := time.UnixMilli(1_795_460_363_351)
	for i := range 5 {
		m := peer.Incoming{MessageID: fmt.Sprint("m", i), Sender: alice, Sealing: peer.Direct, Body: []byte{'a' + byte(i)}, CreatedAt: now, Name: "alice", Priority: "next"}
		for _, want := range []bool{true, false} {
			if has, err := b.Has(t.Context(), Mailbox{MeshID: "mesh"}, &m); err != nil || has == want {
				t.Fatalf("message %d: has it %v, %v", i, has, err)
			}
			if added, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &m, now); err != nil || added != want {
				t.Fatalf("message %d: added %v, %v", i, added, err)
			}
		}
	}
	unopened := peer.Incoming{MessageID: "m0", Sender: newKey(t).Public(), Sealing: peer.Unopened, Err: errors.New("no key"), CreatedAt: now}
	if added, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &unopened, now); err != nil || !added {
		t.Fatalf("added %v, %v", added, err)
	}
	if added, err := b.Add(t.Context(), Mailbox{MeshID: "another"}, &unopened, now); err != nil || !added {
		t.Fatalf("another mesh: added %v, %v", added, err)
	}
	b.Close()

	b = openInbox(t, dir) // the messages are on disk
	list, err := b.List(t.Context(), "mesh", ListOptions{})
	if err != nil || len(list) != 6 {
		t.Fatalf("got %d, %v", len(list), err)
	}
	for i := range 5 {
		if s := list[i]; s.Body != string(rune('a'+i)) || s.From != "alice" || s.Read || s.Sender != alice.String() || !s.CreatedAt.Equal(now) || s.Sealing != peer.Direct {
			t.Errorf("message %d: %+v", i, s)
		}
	}
	if s := list[5]; s.Error != "no key" || s.Body != "" || s.Sealing != peer.Unopened || s.From != unopened.Sender.Short() || s.Member != "" {
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
	dir := peer.Dir(t.TempDir())
	b := openInbox(t, dir)
	if _, err := b.Add(t.Context(), Mailbox{MeshID: "m"}, &peer.Incoming{MessageID: "m"}, time.Now()); err != nil {
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
	dir := peer.Dir(t.TempDir())
	alice := newKey(t).Public()
	var group sync.WaitGroup
	var mu sync.Mutex
	added := 0
	for range 4 {
		b := openInbox(t, dir) // a database handle of its own, as a process has
		group.Go(func() {
			for i := range 25 {
				isNew, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &peer.Incoming{MessageID: fmt.Sprint(i), Sender: alice, Body: []byte("x")}, time.Now())
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

func TestInboxFilters(t *testing.T) {
	t.Parallel()
	b := openInbox(t, peer.Dir(t.TempDir()))
	start := time.Date(2026, 3, 5, 12, 0, 0, 0, time.UTC)
	bob, eve := newKey(t).Public(), newKey(t).Public()
	if _, err := b.Contacts().Pin(t.Context(), "mesh", bob, "Bob", start); err != nil {
		t.Fatal(err)
	}
	for i, m := range []peer.Incoming{
		{MessageID: "id-00000001", Sender: bob, Member: bob, Name: "Bob", Targets: []string{"@ops"}},
		{MessageID: "id-00000002", Sender: eve, Member: eve, Name: "Ëve"},
		{MessageID: "id-00000003", Sender: newKey(t).Public(), Member: bob, Name: "build", Targets: []string{"@dev", "*"}},
		{MessageID: "id-00000004", Sender: eve, Member: eve, Name: "Ëve", Targets: []string{"*"}},
	} {
		m.CreatedAt = start.Add(time.Duration(i) * time.Minute)
		if _, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &m, start); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.List(t.Context(), "mesh", ListOptions{})
	if err != nil || len(all) != 4 {
		t.Fatal(all, err)
	}
	if err := b.MarkRead(t.Context(), all[:2], start); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		o    ListOptions
		want string
	}{
		"unread":             {ListOptions{}, "34"},
		"all":                {ListOptions{All: true}, "1234"},
		"newest":             {ListOptions{All: true, Limit: 2}, "34"},
		"a page before":      {ListOptions{All: true, Limit: 2, Before: all[3].ID}, "23"},
		"before the first":   {ListOptions{All: true, Before: all[0].ID}, ""},
		"since":              {ListOptions{All: true, Since: start.Add(time.Minute)}, "234"},
		"sender in any case": {ListOptions{All: true, From: "ëVE"}, "24"},
		"unread of a sender": {ListOptions{From: "ëVE"}, "4"},
		// A member's sessions have names of their own.
		"member":         {ListOptions{All: true, From: "bob"}, "13"},
		"session":        {ListOptions{All: true, From: "build"}, "3"},
		"key of member":  {ListOptions{All: true, From: bob.String()[:8]}, "13"},
		"too short":      {ListOptions{All: true, From: bob.String()[:7]}, ""},
		"nobody":         {ListOptions{All: true, From: "mallory"}, ""},
		"group":          {ListOptions{All: true, Group: "@ops"}, "1"},
		"everybody":      {ListOptions{All: true, Group: "*"}, "34"},
		"all at once":    {ListOptions{All: true, Group: "*", From: "bob", Since: start, Limit: 1}, "3"},
		"of another one": {ListOptions{All: true, Group: "@op"}, ""},
	} {
		list, err := b.List(t.Context(), "mesh", tc.o)
		got := ""
		for i := range list {
			got += list[i].MessageID[len(list[i].MessageID)-1:]
		}
		if err != nil || got != tc.want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, tc.want)
		}
	}
	if unread, came, err := b.Count(t.Context(), "mesh", start.Add(time.Minute)); err != nil || unread != 2 || came != 3 {
		t.Errorf("counted %d unread, %d came, %v", unread, came, err)
	}
	if unread, came, err := b.Count(t.Context(), "other", start); err != nil || unread != 0 || came != 0 {
		t.Errorf("counted %d unread, %d came, %v", unread, came, err)
	}
	if m, err := b.Mail(t.Context(), "mesh", "00000003"); err != nil || m.MessageID != "id-00000003" || !slices.Equal(m.To, []string{"@dev", "*"}) {
		t.Errorf("by the end of the id: %+v, %v", m, err)
	}
	if m, err := b.Mail(t.Context(), "mesh", "id-00000002"); err != nil || m.MessageID != "id-00000002" {
		t.Errorf("by the whole id: %+v, %v", m, err)
	}
	for id, want := range map[string]error{"id-00000": ErrSeveralMessages, "0000003": ErrNoMessage, "00000009": ErrNoMessage, "%%%%%%%%": ErrNoMessage} {
		if m, err := b.Mail(t.Context(), "mesh", id); !errors.Is(err, want) {
			t.Errorf("%q: %+v, %v", id, m, err)
		}
	}
}
