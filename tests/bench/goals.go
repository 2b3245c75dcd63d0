package main

import "fmt"

// goal is a row of the table: a figure and its goal.
type goal struct {
	probe  string
	what   string
	of     string // database or layout
	series string
	unit   string
	better direction
	limit  float64
	beside []beside
	// why explains what limits the figure. The report shows it if the goal is not reached.
	// It is a text/template over the results; the function "m" returns the median of a
	// series.
	why string
}

type direction string

const (
	atLeast direction = "≥"
	atMost  direction = "≤"
)

// reached reports whether a figure reaches the goal.
func (g *goal) reached(v float64) bool {
	if g.better == atLeast {
		return v >= g.limit
	}
	return v <= g.limit
}

// beside is a figure to compare with a goal's figure: a ceiling or an explanation.
type beside struct{ label, series, unit string }

// rowList collects the rows of the table.
type rowList []goal

// add adds rows.
func (t *rowList) add(rows ...goal) { *t = append(*t, rows...) }

// each adds a row for each database.
func (t *rowList) each(g goal) {
	for _, db := range databases {
		t.add(g.on(db))
	}
}

// table returns the rows of the table.
func table() []goal {
	var t rowList
	t.throughput()
	t.contention()
	t.latency()
	t.sessions()
	t.queued()
	t.hook()
	t.cluster()
	t.growth()
	return t
}

// throughput adds the rows about the maximum rate.
func (t *rowList) throughput() {
	ceilings := []beside{
		{"S", "throughput/S/live/%[1]s", "1/s"}, {"S, queued", "throughput/S/queued/%[1]s", "1/s"}, {"W", "throughput/W", "1/s"},
	}
	t.each(goal{"throughput", "durable direct messages, 50 pairs", "", "throughput/%[1]s", "1/s", atLeast, 6000,
		append(ceilings, beside{"delivered in that time", "throughput/delivered/%[1]s", "1/s"}), whyThroughput})
	t.each(goal{"throughput", "… of min(S, W)", "", "throughput/share/%[1]s", "%", atLeast, 70,
		[]beside{{"S and W in turn", "throughput/in turn/%[1]s", "1/s"}}, whyThroughput})
	t.each(goal{"throughput", "… of S and W in turn", "", "throughput/turns/%[1]s", "%", atLeast, 85, nil, whyThroughput})
	t.each(goal{"throughput", "… relative to JetStream", "", "throughput/jetstream/%[1]s", "×", atLeast, 3.5,
		[]beside{{string(oneStream), series("throughput", oneStream), "1/s"}, {string(streamPerPair), series("throughput", streamPerPair), "1/s"}}, whyJetStream})
	t.each(goal{"throughput", "… refused", "", "throughput/%[1]s/refused", "", atMost, 0, nil, whyRefused})
	t.each(goal{"throughput", "… lost", "", "throughput/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	t.add(
		goal{"throughput", "ceiling S itself (goal: 1.25 × the rate on 24 November 2026)", "", "throughput/S/live/%[1]s", "1/s", atLeast, 1.25 * 49_382, nil, whyStorageSpeed}.on(postgresDB),
		goal{"throughput", "ceiling S itself (goal: 1.25 × the rate on 24 November 2026)", "", "throughput/S/live/%[1]s", "1/s", atLeast, 1.25 * 59_977, nil, whyStorageSpeed}.on(sqliteDB))
}

// contention adds the rows about senders that get into each other's way.
func (t *rowList) contention() {
	for i, w := range windows {
		what := fmt.Sprintf("… window %d", w)
		if i == 0 {
			what = fmt.Sprintf("refused messages of 50 pairs that resend at once: window %d", w)
		}
		t.each(goal{"refusals", what, "", series("refusals", w, "%[1]s"), "", atMost, 0, nil, whyRefused})
	}
	t.each(goal{"refusals", "… delivered, relative to 50 pairs that pause", "", "refusals/ratio/%[1]s", "×", atLeast, 1, nil, whyResend})
	t.each(goal{"flood", "a pair during another member's flood: send→push, p50", "", "flood/push/%[1]s/p50", "ms", atMost, 5,
		[]beside{{"the flood", "flood/rate/%[1]s", "1/s"}}, whyFlood})
	t.each(goal{"flood", "… p99", "", "flood/push/%[1]s/p99", "ms", atMost, 50, nil, whyFlood})
	t.each(goal{"flood", "… refused", "", "flood/%[1]s/refused", "", atMost, 0, nil, whyRefused})
	t.each(goal{"flood", "… lost", "", "flood/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	t.each(goal{"burst", "100 peers × 1,000 messages at once: delivered", "", "burst/delivered/%[1]s", "%", atLeast, 100, nil, whyErrors})
	t.each(goal{"burst", "… until the last has arrived", "", "burst/seconds/%[1]s", "s", atMost, 30,
		[]beside{{"W", "burst/seconds/W", "s"}}, whyBurst})
	t.each(goal{"burst", "… memory of the broker, peak", "", "burst/memory/%[1]s", "MB", atMost, 200,
		[]beside{{"W", "burst/memory/W", "MB"}}, whyBurstMemory})
}

// latency adds the rows about a low rate, and what a message costs the database.
func (t *rowList) latency() {
	rate := func(what, name string, limit float64, why string, beside ...beside) {
		t.each(goal{"rate", what, "", name, "ms", atMost, limit, beside, why})
	}
	rate("send→push at 200 messages a second, p50", "rate/push/%[1]s/p50", 1, whyPush, beside{"W", "rate/push/W/p50", "ms"})
	rate("… p99", "rate/push/%[1]s/p99", 10, whyPush, beside{"W", "rate/push/W/p99", "ms"})
	rate("send→ack, p50", "rate/ack/%[1]s/p50", 3, whyAck, beside{"W, nothing stored", "rate/ack/W/p50", "ms"})
	t.add(
		goal{"throughput", "queries per message under load", "", "queries/statements/%[1]s", "", atMost, 0.1,
			[]beside{{"commits", "queries/commits/%[1]s", ""}, {"messages whose body was stored", "queries/bodies/%[1]s", "%"}}, whyQueries}.on(postgresDB),
		goal{"throughput", "commits per message under load", "", "queries/commits/%[1]s", "", atMost, 0.1, nil, whyQueries}.on(sqliteDB))
}

// sessions adds the rows about many sessions.
func (t *rowList) sessions() {
	t.each(goal{"idle", "resident memory of an idle session, 2,000 in one mesh", "", "idle/resident/%[1]s", "kB", atMost, 24,
		[]beside{{"W", "idle/resident/W", "kB"}, {"in use", "idle/in use/%[1]s", "kB"}}, whyIdle})
	t.each(goal{"idle", "… in 200 meshes", "", "idle/spread/%[1]s", "kB", atMost, 24, nil, whyIdle})
	t.each(goal{"arrivals", "10,000 sessions join one mesh", "", "arrivals/%[1]s", "1/s", atLeast, 1000, nil, whyArrivals})
	t.each(goal{"arrivals", "… send→push of other sessions meanwhile, p99", "", "arrivals/push/%[1]s/p99", "ms", atMost, 20,
		[]beside{{"p50", "arrivals/push/%[1]s/p50", "ms"}}, whyArrivals})
	t.each(goal{"arrivals", "… of their messages lost", "", "arrivals/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	t.each(goal{"fanout", "broadcast to 1,000 peers: last recipient, p50", "", "fanout/last/%[1]s/p50", "ms", atMost, 50,
		[]beside{{"first", "fanout/first/%[1]s/p50", "ms"}, {"commits until the last delivery", "fanout/commits/%[1]s", ""}}, whyFanout})
	t.add(goal{"fanout", "… statements that store its 1,000 deliveries", "", "fanout/inserts/%[1]s", "", atMost, 1, nil,
		whyErrors}.on(postgresDB))
	t.each(goal{"storm", "2,000 sessions reconnect at once", "", "storm/seconds/%[1]s", "s", atMost, 5,
		[]beside{{"W", "storm/seconds/W", "s"}}, whyStorm})
	t.each(goal{"storm", "… failed attempts", "", "storm/errors/%[1]s", "", atMost, 0, nil, whyErrors})
	t.each(goal{"storm", "… messages lost", "", "storm/%[1]s/lost", "", atMost, 0, nil, whyErrors})
}

// queued adds the rows about a long queue.
func (t *rowList) queued() {
	t.each(goal{"queue", "first message of a returning session, 1,000,000 queued for 10,000", "", "queue/first/long/%[1]s", "ms", atMost, 50,
		[]beside{{"2,000 queued", "queue/first/short/%[1]s", "ms"}}, whyQueue})
	t.each(goal{"queue", "… memory beyond that of a broker with 2,000 queued", "", "queue/growth/%[1]s", "MB", atMost, 10,
		[]beside{{"2,000 queued", "queue/memory/short/%[1]s", "MB"}, {"1,000,000 queued", "queue/memory/long/%[1]s", "MB"}}, whyQueueMemory})
}

// hook adds the row about the hook's process.
func (t *rowList) hook() {
	t.add(goal{"hook", "processor time of a hook, relative to a Go program that prints a line", "", "hook/ratio", "×", atMost, 2,
		[]beside{{"the hook", "hook/cpu", "ms"}, {"including the shell that starts it", "hook/shell", "ms"}, {"start to exit", "hook/wall", "ms"}}, whyHook})
}

// cluster adds the rows about several nodes.
func (t *rowList) cluster() {
	t.add(
		goal{"cluster", "sockets at another node than the owner of their mesh: send→push at 200 messages a second, p50, beyond those at the owner", postgresDB,
			"cluster/beyond", "ms", atMost, 0.3, []beside{{"at the owner", "cluster/push/direct/p50", "ms"}, {"p99", "cluster/push/direct/p99", "ms"},
				{"relayed", "cluster/push/relayed/p50", "ms"}, {"p99", "cluster/push/relayed/p99", "ms"}}, whyRelay},
		goal{"cluster", "… messages delivered, of those at the owner", postgresDB, "cluster/share", "%", atLeast, 60,
			[]beside{{"at the owner", "cluster/delivered/direct", "1/s"}, {"relayed", "cluster/delivered/relayed", "1/s"}}, whyRelay},
		goal{"cluster", "… lost", postgresDB, "cluster/relayed/lost", "", atMost, 0, nil, whyErrors},
		goal{"cluster", "… statements per message, of both nodes", postgresDB, "cluster/statements/relayed", "", atMost, 0.1,
			[]beside{{"at the owner", "cluster/statements/direct", ""}, {"one node without a cluster", "queries/statements/postgres", ""}}, whyQueriesOfTwo},
		goal{"cluster", "… notifications between nodes per message", postgresDB, "cluster/notifications/relayed", "", atMost, 0,
			[]beside{{"at the owner", "cluster/notifications/direct", ""}}, whyNotifications},
		goal{"cluster", "… resident memory of an idle session at the node that relays it", postgresDB, "cluster/resident", "kB", atMost, 12,
			[]beside{{"in use", "cluster/in use", "kB"}}, whyRelayMemory},
		goal{"cluster", "1,000 meshes over three nodes, once their sessions have come to nodes chosen at random: most meshes of a node, relative to the mean", postgresDB,
			"cluster/balance", "×", atMost, 1.2, []beside{{"meshes claimed", "cluster/claims", "1/s"}}, whyBalance},
		goal{"cluster", "a session is away while the owner of its mesh hands the mesh over", postgresDB, "cluster/handover", "s", atMost, 1, nil, whyMove},
		goal{"cluster", "a session is back after the owner of its mesh was killed", postgresDB, "cluster/failover", "s", atMost, 5, nil, whyMove})
}

// growth adds the rows about a growing number of sessions.
func (t *rowList) growth() {
	for _, g := range []goal{
		{"growth", "100 → 10,000 sessions: latency, p50", "", "growth/ratio/p50/%[1]s", "×", atMost, 1.2, nil, whyGrowth},
		{"growth", "… memory per session", "", "growth/ratio/memory/%[1]s", "×", atMost, 1.2, nil, whyGrowth},
	} {
		for _, l := range layouts {
			t.add(g.on(l.name))
		}
	}
}
