package sqlite

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestQueryPlans checks that no statement of the message path reads a whole table, in a
// database without statistics, like every new one.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	s := migrated(t, filepath.Join(t.TempDir(), "mesh.db"))
	queries := map[string]string{
		"backlog": backlog, "urgent backlog": urgentBacklog,
		"find messages": findMessages, "find recipients": findRecipients, "sent": sentKeys, "burden": burden,
		"recent hellos": recentHellos, "forget hellos": forgetHellos,
		"mark": mark, "raise marks": raiseMarks.texts[0], "next message": nextMessage, "inserted messages": insertedMessages,
		"message by client": messageByClient, "settle": settleDeliveries.texts[0], "drop bodies": dropBodies.texts[0],
		"close mailbox": closeMailbox, "expire": expireDeliveries, "old messages": oldMessages,
		"delete deliveries": deleteDeliveries.texts[0], "delete messages": deleteMessages.texts[0],
		"prune presences": prunePresences, "remove presences": removePresences.texts[0],
		"known members": selectMember + `WHERE mesh_id = ? AND key = ?`,
		"presences":     selectPresence + `WHERE mesh_id = ? AND ended_at IS NULL`,
	}
	for name, query := range queries {
		for _, step := range explain(t, s, query) {
			if scansTable(step) {
				t.Errorf("%s: %s", name, step)
			}
		}
	}
	// The check itself must be able to fail.
	if steps := explain(t, s, `SELECT * FROM messages WHERE topic = ?`); !scansTable(strings.Join(steps, "\n")) {
		t.Errorf("a full scan was not noticed: %v", steps)
	}
}

// scansTable reports whether a step of a plan reads a whole table or index. It ignores
// lists of values and temporary subqueries, which are always read whole. min and max over
// a key are a SEARCH.
func scansTable(step string) bool {
	for _, table := range []string{"meshes", "members", "invites", "presences", "messages", "bodies", "deliveries",
		"audit_entries", "audit_heads", "mesh_marks", "hellos", "m", "d", "b", "p", "e"} {
		if step == "SCAN "+table || strings.HasPrefix(step, "SCAN "+table+" ") {
			return true
		}
	}
	return false
}

func explain(t *testing.T, s *Store, query string) (steps []string) {
	t.Helper()
	args := make([]any, strings.Count(query, "?"))
	rows, err := s.read.db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, detail)
	}
	if err := rows.Err(); err != nil || len(steps) == 0 {
		t.Fatalf("%s: %d steps, %v", query, len(steps), err)
	}
	return steps
}
