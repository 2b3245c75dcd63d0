package main

import "fmt"

// goal is a row of the table: a figure, and what it should be.
type goal struct {
	probe  string
	what   string
	of     string // database, or layout
	series string
	unit   string
	better direction
	limit  float64
	beside []beside
	// why is shown when the goal is not reached: a text/template over the results, with
	// the function "m" for the median of a series. It says what bounds the figure.
	why string
}

type direction string

const (
	atLeast direction = "≥"
	atMost  direction = "≤"
)

// reached reports whether a figure is good enough.
func (g *goal) reached(v float64) bool {
	if g.better == atLeast {
		return v >= g.limit
	}
	return v <= g.limit
}

// beside is a figure that stands beside a goal's: a ceiling, or what explains it.
type beside struct{ label, series, unit string }

// Why a goal was not reached. %[1]s is the database.
const (
	whyThroughput = `Ceilings S and W are measured one at a time, each with the whole machine. Under load the broker's
Caddy, the database and the load itself share its cores: if storage and WebSockets took turns and all else
were free, {{m "throughput/in turn/%[1]s" "1/s"}} would go through. A message costs the broker
{{m "throughput/cpu/%[1]s" "µs"}} of processor time, the bare relay {{m "throughput/cpu/W" "µs"}}; the load takes
{{m "throughput/load/%[1]s" "%%"}} of one core. The rate counts until the storage has every message: when the load ended,
{{m "throughput/waiting/%[1]s" ""}} acknowledged messages were not stored yet. "What a message costs" breaks the time
down.`
	whyStorageSpeed = `The goal is 1.25 times what the storage did on 24 November 2026, when the machine's relay passed on
116,006/s; it passes on {{m "throughput/W" "1/s"}} now.`
	whyResend = `While nobody is refused, a client that resends at once is the same load as one that pauses: the difference is the
machine's.`
	whyFlood = `The pair's messages wait for neither the storage nor the flood's; they share the cores with it,
which passes on {{m "flood/rate/%[1]s" "1/s"}} meanwhile.`
	whyRefused = `A sender that outruns the storage waits for its acks, for 5 s at most: so much longer did the storage take for
what was under way.`
	whyJetStream = `JetStream reached {{m "throughput/one stream" "1/s"}} with one stream and
{{m "throughput/a stream per pair" "1/s"}} with a stream per pair; the better of the two counts. It syncs each message by
itself, so that its rate is that of the disk; the broker's is bound by the processor, see above.`
	whyBurst = `The burst is the throughput of 100 peers without a window. The bare relay needs
{{m "burst/seconds/W" "s"}} for it on the same cores.`
	whyBurstMemory = `What waits for the storage is held in memory, up to 16 MiB of messages (DefaultBudget in journal/budget.go), as are
the sends that wait for room there, up to 4 MiB (parkedBytes in broker/park.go); the collector lets the heap grow to
twice of what is in use. SQLite has its page caches beside it.`
	whyPush = `The push does not wait for the storage. The bare relay needs {{m "rate/push/W/p50" "ms"}} at the median and
{{m "rate/push/W/p99" "ms"}} at the 99th percentile; the rest is the scheduler's, on cores that the commits of the
database share.`
	whyAck = `The sender's ack needs either the recipient's client_ack or a commit, whichever is first. One sync of the disk
takes {{.Machine.SyncMillis | figure "ms"}}; the push and the client_ack take
{{m "rate/push/%[1]s/p50" "ms"}} for one way alone.`
	whyQueries = `A commit is a handful of statements whatever is in it, so that the count falls as batches fill:
{{m "queries/commits/%[1]s" ""}} commits per message here.`
	whyIdle = `A bare WebSocket in the same Caddy takes {{m "idle/resident/W" "kB"}}. Of the broker's memory
{{m "idle/in use/%[1]s" "kB"}} are in use; the rest is pages of the program that were not needed before, and what Go's
allocator keeps.`
	whyArrivals = `Each arrival checks two signatures, stores the session's key before it is answered, and shares the
cores with the load, which makes as many signatures. The broker checks signatures on half of the cores at most, tells each
session once that the roster has changed, and not again until the session asks.`
	whyFanout = `The first recipient has it after {{m "fanout/first/%[1]s/p50" "ms"}}. Writing to 1,000 sockets, reading
from them in the load and acknowledging share the same cores.`
	whyStorm = `The bare relay, which checks no signatures, takes {{m "storm/seconds/W" "s"}} for it: connecting, with the
load's own half of each handshake on the same cores.`
	whyErrors = `See Problems.`
	whyQueue  = `The time includes the WebSocket, the handshake with its storing of the session, and one page of the
mailbox read from the database.`
	whyQueueMemory = `A returning session reads its mailbox in pages, so that only caches can grow: those of the
database driver, and the mesh's list of sessions that may come back.`
	whyHook = `A hook reads its event, asks the daemon over its socket and writes the answer: HTTP and JSON from the standard
library, whose pages have to be read at every start.`
	whyGrowth = `What grows with the sessions of a mesh is its roster; what grows with everything is the garbage
collector's work. The figures at each size are in the table below.`
)

// table makes the rows, in the order of the promises.
func table() []goal {
	var list []goal
	each := func(g goal) { // for both databases; series and texts name them
		for _, db := range databases {
			list = append(list, g.on(db))
		}
	}
	ceilings := []beside{
		{"S", "throughput/S/live/%[1]s", "1/s"}, {"S, queued", "throughput/S/queued/%[1]s", "1/s"}, {"W", "throughput/W", "1/s"},
	}
	each(goal{"throughput", "durable direct messages, 50 pairs", "", "throughput/%[1]s", "1/s", atLeast, 6000,
		append(ceilings, beside{"delivered meanwhile", "throughput/delivered/%[1]s", "1/s"}), whyThroughput})
	each(goal{"throughput", "… of min(S, W)", "", "throughput/share/%[1]s", "%", atLeast, 70,
		[]beside{{"S and W in turn", "throughput/in turn/%[1]s", "1/s"}}, whyThroughput})
	each(goal{"throughput", "… of S and W in turn", "", "throughput/turns/%[1]s", "%", atLeast, 85, nil, whyThroughput})
	each(goal{"throughput", "… over JetStream's", "", "throughput/jetstream/%[1]s", "×", atLeast, 3.5,
		[]beside{{string(oneStream), series("throughput", oneStream), "1/s"}, {string(streamPerPair), series("throughput", streamPerPair), "1/s"}}, whyJetStream})
	each(goal{"throughput", "… refused", "", "throughput/%[1]s/refused", "", atMost, 0, nil, whyRefused})
	each(goal{"throughput", "… lost", "", "throughput/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	list = append(list,
		goal{"throughput", "ceiling S itself, 1.25 × the earlier one", "", "throughput/S/live/%[1]s", "1/s", atLeast, 1.25 * 49_382, nil, whyStorageSpeed}.on(postgresDB),
		goal{"throughput", "ceiling S itself, 1.25 × the earlier one", "", "throughput/S/live/%[1]s", "1/s", atLeast, 1.25 * 59_977, nil, whyStorageSpeed}.on(sqliteDB))
	for i, w := range windows {
		what := fmt.Sprintf("… window %d", w)
		if i == 0 {
			what = fmt.Sprintf("refused of 50 pairs that resend at once: window %d", w)
		}
		each(goal{"refusals", what, "", series("refusals", w, "%[1]s"), "", atMost, 0, nil, whyRefused})
	}
	each(goal{"refusals", "… delivered, over 50 pairs that pause", "", "refusals/ratio/%[1]s", "×", atLeast, 1, nil, whyResend})
	each(goal{"flood", "a pair beside another member's flood: send→push, p50", "", "flood/push/%[1]s/p50", "ms", atMost, 5,
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
		goal{"throughput", "queries per message at load, counted", "", "queries/statements/%[1]s", "", atMost, 0.1,
			[]beside{{"commits", "queries/commits/%[1]s", ""}, {"messages whose body was stored", "queries/bodies/%[1]s", "%"}}, whyQueries}.on(postgresDB),
		goal{"throughput", "commits per message at load", "", "queries/commits/%[1]s", "", atMost, 0.1, nil, whyQueries}.on(sqliteDB))
	each(goal{"idle", "resident memory of an idle session, 2,000 in one mesh", "", "idle/resident/%[1]s", "kB", atMost, 24,
		[]beside{{"W", "idle/resident/W", "kB"}, {"in use", "idle/in use/%[1]s", "kB"}}, whyIdle})
	each(goal{"idle", "… in 200 meshes", "", "idle/spread/%[1]s", "kB", atMost, 24, nil, whyIdle})
	each(goal{"arrivals", "10,000 sessions come to one mesh", "", "arrivals/%[1]s", "1/s", atLeast, 1000, nil, whyArrivals})
	each(goal{"arrivals", "… send→push of others meanwhile, p99", "", "arrivals/push/%[1]s/p99", "ms", atMost, 20,
		[]beside{{"p50", "arrivals/push/%[1]s/p50", "ms"}}, whyArrivals})
	each(goal{"arrivals", "… of their messages lost", "", "arrivals/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	each(goal{"fanout", "broadcast to 1,000 peers, last one reached, p50", "", "fanout/last/%[1]s/p50", "ms", atMost, 50,
		[]beside{{"first", "fanout/first/%[1]s/p50", "ms"}, {"commits, with those of the acknowledgements", "fanout/commits/%[1]s", ""}}, whyFanout})
	list = append(list, goal{"fanout", "… statements that store its 1,000 deliveries", "", "fanout/inserts/%[1]s", "", atMost, 1, nil,
		whyErrors}.on(postgresDB))
	each(goal{"storm", "2,000 sessions reconnect at once", "", "storm/seconds/%[1]s", "s", atMost, 5,
		[]beside{{"W", "storm/seconds/W", "s"}}, whyStorm})
	each(goal{"storm", "… failed attempts", "", "storm/errors/%[1]s", "", atMost, 0, nil, whyErrors})
	each(goal{"storm", "… messages lost", "", "storm/%[1]s/lost", "", atMost, 0, nil, whyErrors})
	each(goal{"queue", "first message of a returning session, 1,000,000 queued for 10,000", "", "queue/first/long/%[1]s", "ms", atMost, 50,
		[]beside{{"2,000 queued", "queue/first/short/%[1]s", "ms"}}, whyQueue})
	each(goal{"queue", "… memory over that of a broker with 2,000 queued", "", "queue/growth/%[1]s", "MB", atMost, 10,
		[]beside{{"2,000 queued", "queue/memory/short/%[1]s", "MB"}, {"1,000,000 queued", "queue/memory/long/%[1]s", "MB"}}, whyQueueMemory})
	list = append(list, goal{"hook", "processor time of a hook, over that of a Go program that prints a line", "", "hook/ratio", "×", atMost, 2,
		[]beside{{"the hook", "hook/cpu", "ms"}, {"with the shell that starts it", "hook/shell", "ms"}, {"start to exit", "hook/wall", "ms"}}, whyHook})
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
