package store

import (
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/disk"
)

func TestStoreOfANewerVersionIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(t.TempDir())
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.exec(t.Context(), "age", "PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("opened: %v", err)
	}
}

// TestProcessesOfAnOlderDaemon checks that the processes of a daemon that did not know
// namespaces count as processes of its own namespace.
func TestProcessesOfAnOlderDaemon(t *testing.T) {
	t.Parallel()
	const domains = 5 // schema steps before namespaces
	dir := peer.Dir(t.TempDir())
	db, err := disk.Open(t.Context(), dir.Path(FileName), schema[:domains], "foreign_keys(ON)")
	if err != nil {
		t.Fatal(err)
	}
	for _, insert := range []string{
		`INSERT INTO session (id, cwd, name, role, groups, title, model, summary, dnd, edits, since, active) VALUES ('s', '', '', '', 'null', '', '', '', 0, '{}', 0, 0)`,
		`INSERT INTO process (pid, start, token, session_id, cleared) VALUES (7, '100', 't', 's', 1)`,
	} {
		if _, err := db.ExecContext(t.Context(), insert); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	list, err := s.Processes(t.Context())
	want := Process{ID: process.ID{Number: process.Here(7), Start: "100"}, Token: "t", SessionID: "s", Cleared: true}
	if err != nil || len(list) != 1 || list[0] != want {
		t.Errorf("got %+v, %v", list, err)
	}
}
