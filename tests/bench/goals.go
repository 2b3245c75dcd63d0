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

// Why a goal was not reached. %[1]s is the database.
const (
	whyThroughput = `Ceilings S and W are measured one at a time, each with the whole machine. Under load, the broker's
Caddy, the database and the load generator share the cores: if storage and WebSockets took turns and everything else
were free, the rate would be {{m "throughput/in turn/%[1]s" "1/s"}}. A message costs the broker
{{m "throughput/cpu/%[1]s" "µs"}} of processor time, the bare relay {{m "throughput/cpu/W" "µs"}}; the load generator takes
{{m "throughput/load/%[1]s" "%%"}} of one core. The rate counts until the storage has every message: when the load ended,
{{m "throughput/waiting/%[1]s" ""}} acknowledged messages were not stored yet. "What a message costs" breaks down the
time.`
	whyStorageSpeed = `The goal is 1.25 times the rate of the storage on 24 November 2026, when the relay on this machine forwarded
116,006/s; now it forwards {{m "throughput/W" "1/s"}}.`
	whyResend = `While the broker refuses nothing, a client that resends at once causes the same load as one that pauses; the difference
comes from the machine.`
	whyFlood = `The pair's messages don't wait for the storage or for the flood's messages, but they share the cores with the
flood, which delivers {{m "flood/rate/%[1]s" "1/s"}} meanwhile.`
	whyRefused = `A sender that outruns the storage waits for its acks, for up to 5 s: the storage took longer than that for the
messages in flight.`
	whyJetStream = `JetStream reached {{m "throughput/one stream" "1/s"}} with one stream and
{{m "throughput/a stream per pair" "1/s"}} with a stream per pair; the better of the two counts. It syncs each message
separately, so the disk limits its rate; the processor limits the broker's rate (see above).`
	whyBurst = `The burst measures the throughput of 100 peers without a window. The bare relay takes
{{m "burst/seconds/W" "s"}} on the same cores.`
	whyBurstMemory = `Memory holds up to 16 MiB of messages that wait for the storage (DefaultBudget in journal/budget.go) and up to 4 MiB of
sends that wait for room there (parkedBytes in broker/park.go). The garbage collector lets the heap grow to twice the
memory in use. SQLite also has its page caches.`
	whyPush = `The push doesn't wait for the storage. The bare relay takes {{m "rate/push/W/p50" "ms"}} at the median and
{{m "rate/push/W/p99" "ms"}} at the 99th percentile; the rest is scheduling on cores that the database's commits
also use.`
	whyAck = `The sender's ack needs the recipient's client_ack or a commit, whichever comes first. One sync of the disk
takes {{.Machine.SyncMillis | figure "ms"}}; the push and the client_ack each take
{{m "rate/push/%[1]s/p50" "ms"}}.`
	whyQueries = `A commit takes a few statements, whatever its size, so the count per message falls as batches fill:
{{m "queries/commits/%[1]s" ""}} commits per message here.`
	whyIdle = `A bare WebSocket in the same Caddy takes {{m "idle/resident/W" "kB"}}. Of the broker's memory
{{m "idle/in use/%[1]s" "kB"}} are in use; the rest is newly loaded pages of the program, and memory that Go's
allocator keeps.`
	whyArrivals = `For each new session, the broker checks two signatures and stores the session's key before it answers. It shares the
cores with the load generator, which makes the same number of signatures. The broker checks signatures on at most half of
the cores. It tells each session only once that the roster has changed, until the session asks for the roster.`
	whyFanout = `The first recipient has the message after {{m "fanout/first/%[1]s/p50" "ms"}}. Writing to 1,000 sockets, reading
from them in the load generator and acknowledging share the same cores.`
	whyStorm = `The bare relay, which checks no signatures, takes {{m "storm/seconds/W" "s"}} to connect, with the
load generator's half of each handshake on the same cores.`
	whyErrors = `See Problems.`
	whyQueue  = `The time includes opening the WebSocket, the handshake, which stores the session, and reading one page of the
mailbox from the database.`
	whyQueueMemory = `A returning session reads its mailbox in pages, so only caches can grow: those of the database driver, and the
mesh's list of sessions that may return.`
	whyRelay        = `A message of a relayed session goes from node to node twice, on the same cores as the load and the database.`
	whyQueriesOfTwo = `Each node also renews its lease and looks for other nodes, a few times a second, whether messages flow or not.`
	whyBalance      = `A mesh without an owner goes to the node that owns the fewest, by counts that may be half a second old.`
	whyMove         = `A client comes back at once, with jitter, and its hello waits for the mesh.`
	whyHook         = `A hook reads its event, asks the daemon over its socket and writes the answer. It uses HTTP and JSON from the standard
library, whose pages the system has to load at every start.`
	whyGrowth = `With the sessions of a mesh, its roster grows; with all memory, the garbage collector's work grows. The table below
has the figures for each size.`
)

// table returns the rows of the table.
func table() []goal {
	var list []goal
	each := func(g goal) { // adds a row for each database
		for _, db := range databases {
			list = append(list, g.on(db))
		}
	}
	ceilings := []beside{
		{"S", "throughput/S/live/%[1]s", "1/s"}, {"S, queued", "throughput/S/queued/%[1]s", "1/s"}, {"W", "throughput/W", "1/s"},
	}
	each(goal{"throughput", "durable direct messages, 50 pairs", "", "throughput/%[1]s", "1/s", atLeast, 6000,
		append(ceilings, beside{"delivered in that time", "throughput/delivered/%[1]s", "1/s"}), whyThroughput})
	each(goal{"throughput", "… of min(S, W)", "", "throughput/share/%[1]s", "%", atLeast, 70,
		[]beside{{"S and W in turn", "throughput/in turn/%[1]s", "1/s"}}, whyThroughput})
	each(goal{"throughput", "… of S and W in turn", "", "throughput/turns/%[1]s", "%", atLeast, 85, nil, whyThroughput})
	each(goal{"throughput", "… relative to JetStream", "", "throughput/jetstream/%[1]s", "×", atLeast, 3.5,
		[]beside{{string(oneStream), series("throughput", oneStream), "1/s"}, {string(streamPerPair), series("throughput", streamPerPair), "1/s"}}, whyJetStream})
	each(goal{"throughput", "… refused", "", "throughput/%[1]s/refused", "", atMost, 0, nil, whyRefused})
	each(goal{"throughput", "… lost", "", "throughput/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	list = append(list,
		goal{"throughput", "ceiling S itself (goal: 1.25 × the rate on 24 November 2026)", "", "throughput/S/live/%[1]s", "1/s", atLeast, 1.25 * 49_382, nil, whyStorageSpeed}.on(postgresDB),
		goal{"throughput", "ceiling S itself (goal: 1.25 × the rate on 24 November 2026)", "", "throughput/S/live/%[1]s", "1/s", atLeast, 1.25 * 59_977, nil, whyStorageSpeed}.on(sqliteDB))
	for i, w := range windows {
		what := fmt.Sprintf("… window %d", w)
		if i == 0 {
			what = fmt.Sprintf("refused messages of 50 pairs that resend at once: window %d", w)
		}
		each(goal{"refusals", what, "", series("refusals", w, "%[1]s"), "", atMost, 0, nil, whyRefused})
	}
	each(goal{"refusals", "… delivered, relative to 50 pairs that pause", "", "refusals/ratio/%[1]s", "×", atLeast, 1, nil, whyResend})
	each(goal{"flood", "a pair during another member's flood: send→push, p50", "", "flood/push/%[1]s/p50", "ms", atMost, 5,
		[]beside{{"the flood", "flood/rate/%[1]s", "1/s"}}, whyFlood})
	each(goal{"flood", "… p99", "", "flood/push/%[1]s/p99", "ms", atMost, 50, nil, whyFlood})
	each(goal{"flood", "… refused", "", "flood/%[1]s/refused", "", atMost, 0, nil, whyRefused})
	each(goal{"flood", "… lost", "", "flood/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	each(goal{"burst", "100 peers × 1,000 messages at once: delivered", "", "burst/delivered/%[1]s", "%", atLeast, 100, nil, whyErrors})
	each(goal{"burst", "… until the last has arrived", "", "burst/seconds/%[1]s", "s", atMost, 30,
		[]beside{{"W", "burst/seconds/W", "s"}}, whyBurst})
	each(goal{"burst", "… memory of the broker, peak", "", "burst/memory/%[1]s", "MB", atMost, 200,
		[]beside{{"W", "burst/memory/W", "MB"}}, whyBurstMemory})
	rate := func(what, name string, limit float64, why string, beside ...beside) {
		each(goal{"rate", what, "", name, "ms", atMost, limit, beside, why})
	}
	rate("send→push at 200 messages a second, p50", "rate/push/%[1]s/p50", 1, whyPush, beside{"W", "rate/push/W/p50", "ms"})
	rate("… p99", "rate/push/%[1]s/p99", 10, whyPush, beside{"W", "rate/push/W/p99", "ms"})
	rate("send→ack, p50", "rate/ack/%[1]s/p50", 3, whyAck, beside{"W, nothing stored", "rate/ack/W/p50", "ms"})
	list = append(list,
		goal{"throughput", "queries per message under load", "", "queries/statements/%[1]s", "", atMost, 0.1,
			[]beside{{"commits", "queries/commits/%[1]s", ""}, {"messages whose body was stored", "queries/bodies/%[1]s", "%"}}, whyQueries}.on(postgresDB),
		goal{"throughput", "commits per message under load", "", "queries/commits/%[1]s", "", atMost, 0.1, nil, whyQueries}.on(sqliteDB))
	each(goal{"idle", "resident memory of an idle session, 2,000 in one mesh", "", "idle/resident/%[1]s", "kB", atMost, 24,
		[]beside{{"W", "idle/resident/W", "kB"}, {"in use", "idle/in use/%[1]s", "kB"}}, whyIdle})
	each(goal{"idle", "… in 200 meshes", "", "idle/spread/%[1]s", "kB", atMost, 24, nil, whyIdle})
	each(goal{"arrivals", "10,000 sessions join one mesh", "", "arrivals/%[1]s", "1/s", atLeast, 1000, nil, whyArrivals})
	each(goal{"arrivals", "… send→push of other sessions meanwhile, p99", "", "arrivals/push/%[1]s/p99", "ms", atMost, 20,
		[]beside{{"p50", "arrivals/push/%[1]s/p50", "ms"}}, whyArrivals})
	each(goal{"arrivals", "… of their messages lost", "", "arrivals/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	each(goal{"fanout", "broadcast to 1,000 peers: last recipient, p50", "", "fanout/last/%[1]s/p50", "ms", atMost, 50,
		[]beside{{"first", "fanout/first/%[1]s/p50", "ms"}, {"commits, including acknowledgements", "fanout/commits/%[1]s", ""}}, whyFanout})
	list = append(list, goal{"fanout", "… statements that store its 1,000 deliveries", "", "fanout/inserts/%[1]s", "", atMost, 1, nil,
		whyErrors}.on(postgresDB))
	each(goal{"storm", "2,000 sessions reconnect at once", "", "storm/seconds/%[1]s", "s", atMost, 5,
		[]beside{{"W", "storm/seconds/W", "s"}}, whyStorm})
	each(goal{"storm", "… failed attempts", "", "storm/errors/%[1]s", "", atMost, 0, nil, whyErrors})
	each(goal{"storm", "… messages lost", "", "storm/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	each(goal{"queue", "first message of a returning session, 1,000,000 queued for 10,000", "", "queue/first/long/%[1]s", "ms", atMost, 50,
		[]beside{{"2,000 queued", "queue/first/short/%[1]s", "ms"}}, whyQueue})
	each(goal{"queue", "… memory beyond that of a broker with 2,000 queued", "", "queue/growth/%[1]s", "MB", atMost, 10,
		[]beside{{"2,000 queued", "queue/memory/short/%[1]s", "MB"}, {"1,000,000 queued", "queue/memory/long/%[1]s", "MB"}}, whyQueueMemory})
	list = append(list, goal{"hook", "processor time of a hook, relative to a Go program that prints a line", "", "hook/ratio", "×", atMost, 2,
		[]beside{{"the hook", "hook/cpu", "ms"}, {"including the shell that starts it", "hook/shell", "ms"}, {"start to exit", "hook/wall", "ms"}}, whyHook})
	list = append(list,
		goal{"cluster", "sockets at another node than the owner of their mesh: send→push at 200 messages a second, p50, beyond those at the owner", postgresDB,
			"cluster/beyond", "ms", atMost, 0.3, []beside{{"at the owner", "cluster/push/direct/p50", "ms"}, {"p99", "cluster/push/direct/p99", "ms"},
				{"relayed", "cluster/push/relayed/p50", "ms"}, {"p99", "cluster/push/relayed/p99", "ms"}}, whyRelay},
		goal{"cluster", "… messages delivered, of those at the owner", postgresDB, "cluster/share", "%", atLeast, 60,
			[]beside{{"at the owner", "cluster/delivered/direct", "1/s"}, {"relayed", "cluster/delivered/relayed", "1/s"}}, whyRelay},
		goal{"cluster", "… lost", postgresDB, "cluster/relayed/lost", "", atMost, 0, nil, whyErrors},
		goal{"cluster", "… statements per message, of both nodes", postgresDB, "cluster/statements/relayed", "", atMost, 0.1,
			[]beside{{"at the owner", "cluster/statements/direct", ""}, {"one node without a cluster", "queries/statements/postgres", ""}}, whyQueriesOfTwo},
		goal{"cluster", "… notifications between nodes per message", postgresDB, "cluster/notifications/relayed", "", atMost, 0,
			[]beside{{"at the owner", "cluster/notifications/direct", ""}}, whyErrors},
		goal{"cluster", "… resident memory of an idle session at the node that relays it", postgresDB, "cluster/resident", "kB", atMost, 12,
			[]beside{{"in use", "cluster/in use", "kB"}}, whyRelay},
		goal{"cluster", "1,000 meshes over three nodes, once their sessions have come to nodes chosen at random: most meshes of a node, relative to the mean", postgresDB,
			"cluster/balance", "×", atMost, 1.2, nil, whyBalance},
		goal{"cluster", "a session is away while the owner of its mesh hands the mesh over", postgresDB, "cluster/handover", "s", atMost, 1, nil, whyMove},
		goal{"cluster", "a session is back after the owner of its mesh was killed", postgresDB, "cluster/failover", "s", atMost, 5, nil, whyMove})
	for _, g := range []goal{
		{"growth", "100 → 10,000 sessions: latency, p50", "", "growth/ratio/p50/%[1]s", "×", atMost, 1.2, nil, whyGrowth},
		{"growth", "… memory per session", "", "growth/ratio/memory/%[1]s", "×", atMost, 1.2, nil, whyGrowth},
	} {
		for _, l := range layouts {
			list = append(list, g.on(l.name))
		}
	}
	return list
}
