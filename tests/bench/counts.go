package main

import "github.com/claudemesh/claudemesh/peer/bench"

// counted is what Postgres has counted of one database since it was made, by
// pg_stat_statements. The reader of these figures is not among them, since it asks in
// another database.
type counted struct {
	statements float64
	inserts    float64 // statements that inserted deliveries
	messages   float64 // rows inserted
	bodies     float64 // rows inserted
}

const (
	countStatements = `SELECT coalesce(sum(s.calls), 0)::float8 FROM pg_stat_statements s
		JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1`
	countInserts = countStatements + ` AND s.query LIKE 'INSERT INTO claudemesh.deliveries%'`
	countRows    = `SELECT coalesce(sum(s.rows), 0)::float8 FROM pg_stat_statements s
		JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1 AND s.query LIKE 'INSERT INTO claudemesh.' || $2 || '%'`
)

// count asks what the broker's database has done so far. known is false when nobody has
// counted: SQLite doesn't.
func (x *site) count(s *stage) (c counted, known bool) {
	if x.name == "" || !x.lab.statements {
		return c, false
	}
	ask := func(query string, more ...any) float64 {
		return x.lab.number(s, "", query, append([]any{x.name}, more...)...)
	}
	return counted{ask(countStatements), ask(countInserts), ask(countRows, "messages"), ask(countRows, "bodies")}, true
}

// counts adds what a message has cost since before, as the database has counted. All
// messages must be stored.
func (l *lab) counts(s *stage, site *site, before counted, r *bench.Result, db string) {
	delivered, _ := r.Value("delivered")
	after, known := site.count(s)
	if !known || delivered == 0 {
		return
	}
	l.add(series("queries/statements", db), (after.statements-before.statements)/delivered)
	if messages := after.messages - before.messages; messages > 0 {
		l.add(series("queries/bodies", db), 100*(after.bodies-before.bodies)/messages)
	}
}
