package main

import "github.com/claudemesh/claudemesh/peer/bench"

// counted is what pg_stat_statements has counted in one database since its creation. It
// doesn't include the queries for these figures, which run in another database.
type counted struct {
	statements float64
	inserts    float64 // statements that inserted deliveries
	messages   float64 // inserted rows
	bodies     float64 // inserted rows

	notifications float64 // statements that notified other nodes
}

const (
	countStatements = `SELECT coalesce(sum(s.calls), 0)::float8 FROM pg_stat_statements s
		JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1`
	countInserts       = countStatements + ` AND s.query LIKE 'INSERT INTO claudemesh.deliveries%'`
	countNotifications = countStatements + ` AND s.query LIKE 'NOTIFY %'`
	countRows          = `SELECT coalesce(sum(s.rows), 0)::float8 FROM pg_stat_statements s
		JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1 AND s.query LIKE 'INSERT INTO claudemesh.' || $2 || '%'`
)

// count returns the counts of the broker's database so far. known is false if there are none,
// as on SQLite.
func (x *site) count(s *stage) (c counted, known bool) {
	if x.name == "" || !x.lab.statements {
		return c, false
	}
	ask := func(query string, more ...any) float64 {
		return x.lab.number(s, "", query, append([]any{x.name}, more...)...)
	}
	return counted{ask(countStatements), ask(countInserts), ask(countRows, "messages"), ask(countRows, "bodies"), ask(countNotifications)}, true
}

// counts records the statements and rows per message since before. All messages must be
// stored.
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
