package move

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// table is a table of the target and where its rows come from.
type table struct {
	name string
	key  []string // columns of the primary key
	// from is the FROM clause in SQLite, in which s is the table of the same name.
	from string
	// source has the SQLite expressions of columns that s does not have.
	source map[string]string
	last   bool // it is copied in the transaction that completes the move

	columns []column // from the target's catalog
}

// column is a column of the target.
type column struct{ name, kind string }

// tables returns the tables in the order in which they are copied. Those that are not here
// are in notMoved.
func tables() []*table {
	const ofMessage = " JOIN messages m ON m.no = s.message"
	return []*table{
		{name: "messages", key: []string{"mesh_id", "sender_member", "id"}},
		{name: "bodies", key: []string{"mesh_id", "message_id"}, from: "bodies s" + ofMessage,
			source: map[string]string{"mesh_id": "m.mesh_id", "message_id": "m.id"}},
		{name: "deliveries", key: []string{"mesh_id", "seq"}, from: "deliveries s" + ofMessage,
			source: map[string]string{"message_id": "m.id", "sender_member": "m.sender_member"}},
		{name: "mesh_marks", key: []string{"mesh_id"}},
		{name: "presences", key: []string{"mesh_id", "identity"}},
		{name: "audit_entries", key: []string{"mesh_id", "seq"}},
		{name: "audit_heads", key: []string{"mesh_id"}},
		{name: "audit_key", key: []string{"id"}},
		{name: "audit_restores", key: []string{"mesh_id", "at"}},
		{name: "audit_pruned", key: []string{"mesh_id"}},
		{name: "hellos", key: []string{"mesh_id", "signature"}},
		{name: "meshes", key: []string{"id"}, last: true},
		{name: "members", key: []string{"id"}, last: true},
		{name: "invites", key: []string{"id"}, last: true},
	}
}

// notMoved are the tables that say nothing about meshes.
var notMoved = []string{"schema_version", "trial", "nodes", "claim", "candidates", "mesh_owners"}

// describe reads the table's columns.
func (t *table) describe(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT column_name, data_type FROM information_schema.columns
		WHERE table_schema = 'claudemesh' AND table_name = $1 ORDER BY ordinal_position`, t.name)
	if err != nil {
		return err
	}
	t.columns, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (c column, err error) {
		return c, r.Scan(&c.name, &c.kind)
	})
	return err
}

func (t *table) names() []string {
	var list []string
	for _, c := range t.columns {
		list = append(list, c.name)
	}
	return list
}

// expression returns how SQLite names a column.
func (t *table) expression(name string) string {
	if e := t.source[name]; e != "" {
		return e
	}
	return "s." + name
}

// query returns the query of the source: all rows in the order of the key, or those after a
// key, which is in its arguments.
func (t *table) query(after bool) string {
	expressions := func(names []string) string {
		var list []string
		for _, name := range names {
			list = append(list, t.expression(name))
		}
		return strings.Join(list, ", ")
	}
	from, where := t.from, ""
	if from == "" {
		from = t.name + " s"
	}
	if after {
		where = " WHERE (" + expressions(t.key) + ") > (" + strings.TrimSuffix(strings.Repeat("?, ", len(t.key)), ", ") + ")"
	}
	return "SELECT " + expressions(t.names()) + " FROM " + from + where + " ORDER BY " + expressions(t.key)
}

// identifier returns the name of the table in the target.
func (t *table) identifier() pgx.Identifier { return pgx.Identifier{"claudemesh", t.name} }

// convert turns a value of SQLite into one of the column's type.
func (c *column) convert(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case int64:
		switch c.kind {
		case "boolean":
			return v != 0, nil
		case "bigint", "integer", "smallint":
			return v, nil
		}
	case []byte:
		switch c.kind {
		case "uuid":
			if len(v) == 16 {
				return [16]byte(v), nil
			}
		case "bytea":
			return v, nil
		}
	case string:
		if c.kind == "text" {
			return v, nil
		}
	}
	return nil, fmt.Errorf("column %s: a %T does not fit into a %s", c.name, v, c.kind)
}

// same compares a converted value with what the target has.
func same(want, got any) bool {
	switch g := got.(type) {
	case int16:
		got = int64(g)
	case int32:
		got = int64(g)
	case []byte:
		w, ok := want.([]byte)
		return ok && bytes.Equal(w, g)
	}
	return want == got
}
