// Command bench measures the broker, compares it with its upper bounds and writes
// BENCHMARKS.md.
//
//	go run . [-quick] [-only name,...] [-rounds n] [-out dir] [-save file]
//	go run . -render file [-out dir]
//
// In one run it starts everything: the broker (the real caddy and claudemesh, built from
// this checkout), its databases (SQLite, and a Postgres that syncs to disk), its upper
// bounds, and the system that a user might pick instead. A probe is one measurement. The
// probes take turns, for several rounds, so that a slowdown of the machine affects all of
// them. A probe adds its values to series, one value per round; the table shows the medians.
// Ratios are computed within a round.
//
//   - Ceiling S (storage.go) is the storage alone: it commits the rows that the message path
//     writes, in batches of the broker's size, one after the other.
//   - Ceiling W (relay/) is WebSockets alone: a Caddy with a module that speaks just enough
//     of protocol v1 for `claudemesh bench`. It forwards frames of the same sizes and number
//     as the broker's, without inspecting or storing them. The load generator is the same
//     program, with the same cost.
//   - What a message costs (costs.go) is a profile of the server under load, divided by
//     functions, and the processor time of the database's processes and of the load generator.
//   - JetStream (jetstream.go) is a NATS server with a file store and
//     `sync_interval: always`, in its own process, like the broker.
//
// # Files
//
//	main.go       the command line, and the probes' turns
//	probes.go     the probes, and those of messages and connections
//	windows.go    a probe: clients that resend at once
//	flood.go      a probe: a pair during a flood
//	arrivals.go   a probe: sessions that join, and the others meanwhile
//	memory.go     probes: memory of idle sessions, and its growth
//	cluster.go    a probe: sockets at another node than the owner of their mesh
//	balance.go    its part about the spread of meshes over nodes
//	hook.go       a probe: the hook's process; line/ is what it is compared with
//	queue.go      a probe: a long queue
//	storage.go    ceiling S
//	jetstream.go  JetStream
//	costs.go      what a message costs
//	counts.go     the statements that Postgres has counted
//	lab.go        databases, brokers and their metrics
//	servers.go    the relay, and the roles of this program
//	meanwhile.go  a load beside a measurement
//	stage.go      a testing.TB without a test
//	machine.go    describes the machine
//	results.go    what was measured
//	goals.go      the rows of the table
//	why.go        why a goal was not reached
//	report.go     BENCHMARKS.md
//	plot.go       its plots
//
// The program also plays the processes that it needs: roleVariable turns it into that Caddy or
// that NATS server.
//
// The program has its own module, so that the product depends neither on NATS nor on a
// plotting library. It uses the helpers of the tests; see stage.
package main
