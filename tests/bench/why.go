package main

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
	whyRelay       = `A message of a relayed session goes from node to node twice, on the same cores as the load and the database.`
	whyRelayMemory = `A goroutine that waits for the client, the multiplexer's stream and the socket take about 5 kB. The rest is memory
between objects, and what Go's runtime has not yet returned to the system, which differs from run to run.`
	whyQueriesOfTwo  = `Each node also renews its lease and looks for other nodes, a few times a second, whether messages flow or not.`
	whyNotifications = `A node notifies the others when it or the owner of a mesh changes. Messages need no notification.`
	whyBalance       = `A mesh without an owner goes to the node that owns the fewest, by counts that may be half a second old.`
	whyMove          = `A client comes back at once, with jitter, and its hello waits for the mesh.`
	whyHook          = `A hook reads its event, asks the daemon over its socket and writes the answer. It uses HTTP and JSON from the standard
library, whose pages the system has to load at every start.`
	whyGrowth = `With the sessions of a mesh, its roster grows; with all memory, the garbage collector's work grows. The table below
has the figures for each size.`
)
