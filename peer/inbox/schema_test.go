package inbox

import (
	"database/sql"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
)

// inboxSchema0 is the schema from before there were versions.
const inboxSchema0 = `
CREATE TABLE IF NOT EXISTS message (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	mesh_id     TEXT NOT NULL,
	dedupe_key  TEXT NOT NULL,
	message_id  TEXT NOT NULL,
	client_id   TEXT NOT NULL,
	sender      TEXT NOT NULL,
	member      TEXT NOT NULL,
	name        TEXT NOT NULL,
	sealing     TEXT NOT NULL,
	body        BLOB NOT NULL,
	error       TEXT NOT NULL,
	priority    TEXT NOT NULL,
	reply_to    TEXT NOT NULL,
	created_at  INTEGER NOT NULL, -- Unix ms
	received_at INTEGER NOT NULL, -- Unix ms
	read_at     INTEGER,          -- Unix ms; NULL: unread
	UNIQUE (mesh_id, dedupe_key)
) STRICT;
CREATE INDEX IF NOT EXISTS message_unread ON message (mesh_id, id) WHERE read_at IS NULL;
`

// rawInbox opens the database of an inbox without its methods.
func rawInbox(t *testing.T, dir peer.Dir) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+dir.Path(FileName)+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestInboxOfTheOldSchemaIsMigrated(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(t.TempDir())
	alice := newKey(t).Public()
	old := peer.Incoming{MessageID: "m1", ClientID: "c1", Sender: alice, Member: alice}
	db := rawInbox(t, dir)
	if _, err := db.Exec(inboxSchema0); err != nil {
		t.Fatal(err)
	}
	insert := func(id int64, m *peer.Incoming, body string, readAt any) {
		t.Helper()
		_, err := db.Exec(`INSERT INTO message (id, mesh_id, dedupe_key, message_id, client_id, sender, member, name, sealing, body, error, priority, reply_to, created_at, received_at, read_at)
			VALUES (?, 'mesh', ?, ?, ?, ?, ?, 'alice', 'direct', ?, '', 'next', 'm0', 1000, 2000, ?)`,
			id, m.DedupeKey(), m.MessageID, m.ClientID, m.Sender.String(), m.Member.String(), []byte(body), readAt)
		if err != nil {
			t.Fatal(err)
		}
	}
	insert(3, &old, "read", 3000)
	insert(7, &peer.Incoming{MessageID: "m2", Sender: alice, Member: alice}, "unread", nil)
	db.Close()

	// Several processes open the inbox at the same moment.
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			b, err := Open(t.Context(), dir)
			if err != nil {
				t.Error(err)
				return
			}
			b.Close()
		})
	}
	group.Wait()
	b := openInbox(t, dir)
	list, err := b.List(t.Context(), "mesh", ListOptions{All: true})
	if err != nil || len(list) != 2 {
		t.Fatalf("got %+v, %v", list, err)
	}
	want := Stored{
		ID: 3, MeshID: "mesh", MessageID: "m1", ClientID: "c1", From: "alice", Sender: alice.String(), Member: alice.String(), Doubt: "it came before senders were verified",
		Sealing: peer.Direct, Body: "read", Priority: "next", ReplyTo: "m0", CreatedAt: time.UnixMilli(1000).UTC(), ReceivedAt: time.UnixMilli(2000).UTC(), Read: true,
	}
	if !reflect.DeepEqual(list[0], want) {
		t.Errorf("got %+v, want %+v", list[0], want)
	}
	if list[1].ID != 7 || list[1].Read || list[1].Body != "unread" {
		t.Errorf("got %+v", list[1])
	}
	if added, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &old, time.Now()); err != nil || added {
		t.Errorf("a message from before came again: %v, %v", added, err)
	}
	m := peer.Incoming{MessageID: "m3", Sender: alice, CreatedAt: time.Now()}
	if added, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &m, time.Now()); err != nil || !added {
		t.Errorf("a new message: %v, %v", added, err)
	}
	if list, err = b.List(t.Context(), "mesh", ListOptions{}); err != nil || len(list) != 2 || list[1].ID <= 7 {
		t.Errorf("got %+v, %v", list, err)
	}
	var tables int
	if err := rawInbox(t, dir).QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = 'message_0'`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("the old table is still there: %d, %v", tables, err)
	}
}

func TestInboxOfVersion2IsMigrated(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(t.TempDir())
	openInbox(t, dir).Close()
	if _, err := rawInbox(t, dir).Exec(`ALTER TABLE message DROP COLUMN maybe_seen; ALTER TABLE message DROP COLUMN targets; DROP TABLE name_pin; PRAGMA user_version = 2;
		INSERT INTO message (mesh_id, session, dedupe_key, message_id, client_id, sender, member, name, sealing, body, error, priority, reply_to, verified, doubt, wants_receipt, created_at, received_at)
		VALUES ('mesh', 's1', 'k', 'm1', '', '', '', '', 'direct', x'', '', 'next', '', 0, '', 0, 1, 1)`); err != nil {
		t.Fatal(err)
	}
	b := openInbox(t, dir)
	list, _, err := b.Take(t.Context(), TakeOptions{Filter: Filter{[]string{"mesh"}, "s1", false}, ToolUse: "t", Now: time.Now()})
	if err != nil || len(list) != 1 || list[0].MaybeSeen {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestInboxOfVersion4IsMigrated(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(t.TempDir())
	openInbox(t, dir).Close()
	if _, err := rawInbox(t, dir).Exec(`ALTER TABLE message DROP COLUMN targets; PRAGMA user_version = 4;
		INSERT INTO message (mesh_id, session, dedupe_key, message_id, client_id, sender, member, name, sealing, body, error, priority, reply_to, verified, doubt, wants_receipt, created_at, received_at)
		VALUES ('mesh', '', 'k', 'm1', '', '', '', '', 'mesh', x'', '', 'next', '', 0, '', 0, 1, 1)`); err != nil {
		t.Fatal(err)
	}
	b := openInbox(t, dir)
	if _, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &peer.Incoming{MessageID: "m2", Targets: []string{"@ops", "*"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	list, err := b.List(t.Context(), "mesh", ListOptions{})
	if err != nil || len(list) != 2 || list[0].To != nil || !slices.Equal(list[1].To, []string{"@ops", "*"}) {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestInboxOfALaterVersionIsRefused(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(t.TempDir())
	openInbox(t, dir).Close()
	if _, err := rawInbox(t, dir).Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "version 99") {
		t.Errorf("got %v", err)
	}
}
