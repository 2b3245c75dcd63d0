package postgres

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/claudemesh/claudemesh/internal/pgtest"
)

// hotQueries are the statements of the message path.
var hotQueries = map[string]string{
	"backlog": backlog, "urgent backlog": urgentBacklog, "find messages": findMessages,
	"find recipients": findRecipients, "sent": sentKeys, "burden": burden, "mark": mark, "recent hellos": recentHellos, "originals": originals, "settle": settle,
	"close mailboxes": closeMailboxes, "expire": expireDeliveries, "delete messages": deleteMessages,
	"prune presences": prunePresences, "remove presences": removePresences, "put presences": putPresences,
	"live presences": livePresences, "audit head": auditHead, "audit entries": auditEntries,
	"expire in the meshes of a node": expireOfNode, "expire in some meshes": expireInMeshes, "assign a mesh": assignMesh,
	"owner of a mesh": meshOwner, "release meshes": releaseMeshes, "own meshes": ownedMeshes,
	"move meshes": moveMeshes, "renew a lease": renewLease,
	"audit restores": auditRestores, "audit pruned": auditPruned, "prune entries": pruneEntries,
}

// TestQueryPlans checks that no statement of the message path reads a whole table or
// index. It looks at generic plans, which Postgres keeps whatever the arguments are: in
// empty tables, in tables that have grown since, and in analyzed tables.
func TestQueryPlans(t *testing.T) {
	t.Parallel()
	dsn := pgtest.DSN(t)
	s := migrated(t, dsn)
	checkPlans(t, s, "empty")
	execute(t, dsn, fill)
	checkPlans(t, s, "grown")
	execute(t, dsn, `ANALYZE`)
	checkPlans(t, s, "analyzed")
	// The check itself must be able to fail.
	if bad := scans(explain(t, s.pool, `SELECT FROM claudemesh.messages WHERE topic = $1`)); len(bad) == 0 {
		t.Error("a full scan was not noticed")
	}
	if bad := scans(explain(t, s.pool, `SELECT FROM claudemesh.messages m JOIN claudemesh.bodies b ON b.nonce = m.topic AND m.id = $1`)); len(bad) == 0 {
		t.Error("a full scan in a join was not noticed")
	}
}

func checkPlans(t *testing.T, s *Store, tables string) {
	t.Helper()
	for name, query := range hotQueries {
		plan := explain(t, s.pool, query)
		if bad := scans(plan); len(bad) > 0 {
			text, _ := json.MarshalIndent(plan, "", " ")
			t.Errorf("%s, %s tables: %s\n%s", name, tables, strings.Join(bad, ", "), text)
		}
	}
}

// fill inserts 50,000 messages, of which one in a hundred is pending, and as many meshes of
// ten nodes.
const fill = `
INSERT INTO claudemesh.messages (id, mesh_id, sender_member, sender_name, target_spec, priority, created_at, client_id,
	fingerprint, topic, reply_to, mentions, body_version, key_epoch)
SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', 'x', 'x', 'next', n,
	'client-' || n, '', '', '', '[]', 1, 0 FROM generate_series(1, 50000) n;
INSERT INTO claudemesh.deliveries (seq, mesh_id, sender_member, message_id, settled_at, state, urgent, same_member, mailbox, name)
SELECT created_at, mesh_id, sender_member, id, CASE WHEN created_at % 100 > 0 THEN 1 END, CASE WHEN created_at % 100 > 0 THEN 1 ELSE 0 END,
	false, false, 's/' || created_at % 1000, 'x' FROM claudemesh.messages;
INSERT INTO claudemesh.bodies (mesh_id, message_id, nonce, ciphertext)
SELECT mesh_id, message_id, 'n', repeat('x', 1000) FROM claudemesh.deliveries WHERE state = 0;
INSERT INTO claudemesh.audit_entries (mesh_id, seq, at, kind, actor, detail, prev, hash)
SELECT '00000000-0000-0000-0000-000000000001', n, n, 'x', 'x', '{}', sha256(''), sha256('') FROM generate_series(1, 50000) n;
INSERT INTO claudemesh.nodes (id, lease_until, pid, knows_schema, host) SELECT n, clock_timestamp(), 1, 1, 'x' FROM generate_series(1, 10) n;
INSERT INTO claudemesh.mesh_owners (mesh_id, node_id) SELECT gen_random_uuid(), n % 10 + 1 FROM generate_series(1, 50000) n;`

// node is a part of a plan.
type node struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Index    string `json:"Index Name"`
	Cond     string `json:"Index Cond"`
	Filter   string
	Plans    []node
}

// narrows matches conditions of a filter that an index should have checked.
var narrows = regexp.MustCompile(`\b(message_id|mailbox|seq|identity|sender_member|client_id|id) (=|>|<|= ANY) `)

// oneRow lists the tables with a single row.
var oneRow = map[string]bool{"claim": true}

// scans lists the parts of a plan that read a whole table or index. Limit and min/max stop
// early, so they only need the right index. The indexes with an order and no condition
// belong to lastSeq and to sweeps.
func scans(plan node) (bad []string) {
	switch {
	case plan.Type == "Seq Scan" && !oneRow[plan.Relation]:
		bad = append(bad, "sequential scan of "+plan.Relation)
	case strings.HasPrefix(plan.Type, "Index") && plan.Type != "Index" && plan.Cond == "" && plan.Index != "deliveries_pkey":
		bad = append(bad, "full scan of "+plan.Index)
	case plan.Index != "" && narrows.MatchString(plan.Filter):
		bad = append(bad, "all of "+plan.Index+" where "+plan.Cond+" to find "+plan.Filter)
	}
	for _, p := range plan.Plans {
		bad = append(bad, scans(p)...)
	}
	return bad
}

var placeholder = regexp.MustCompile(`\$\d+`)

// explain returns the plan of a statement for unknown arguments.
func explain(t *testing.T, pool *pgxpool.Pool, query string) node {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	seen := map[string]bool{}
	for _, p := range placeholder.FindAllString(query, -1) {
		seen[p] = true
	}
	nulls := ""
	if len(seen) > 0 {
		nulls = "(NULL" + strings.Repeat(", NULL", len(seen)-1) + ")"
	}
	var text string
	for _, sql := range []string{`SET plan_cache_mode = force_generic_plan`, `PREPARE explained AS ` + query} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%v: %s", err, sql)
		}
	}
	if err := conn.QueryRow(t.Context(), fmt.Sprintf(`EXPLAIN (FORMAT JSON) EXECUTE explained %s`, nulls)).Scan(&text); err != nil {
		t.Fatalf("%v: %s", err, query)
	}
	if _, err := conn.Exec(t.Context(), `DEALLOCATE explained`); err != nil {
		t.Fatal(err)
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		t.Fatalf("%d plans, %v", len(plans), err)
	}
	return plans[0].Plan
}
