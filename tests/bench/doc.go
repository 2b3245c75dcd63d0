// Command bench measures the broker beside its limits and writes BENCHMARKS.md.
//
//	go run . [-quick] [-only name,...] [-rounds n] [-out dir] [-save file]
//	go run . -render file [-out dir]
//
// In one run it starts everything: the broker (the real caddy and claudemesh, built
// from this checkout), its databases (SQLite, and a Postgres that syncs to disk), what
// bounds it, and what a user would pick instead. A probe is one thing that is
// measured; the probes take turns, for several rounds, so that a machine that slows
// down does so for all of them. What a probe finds goes into series, one value per
// round; the table shows their medians. Ratios are taken within a round.
//
//   - Ceiling S (storage.go) is the storage alone: commits of the rows that the message
//     path writes, in batches as the broker makes them, one after the other.
//   - Ceiling W (relay/) is WebSockets alone: a Caddy with a module that speaks just
//     enough of protocol v1 for `claudemesh bench` and passes frames on, of the same
//     sizes and as many as the broker's, without looking into them or storing them.
//     So the load is the same program with the same cost.
//   - What a message costs (costs.go) is a profile of the server, taken while the load runs
//     and shared out by functions, and the processor time of the database's processes and of
//     the load.
//   - JetStream (jetstream.go) is a NATS server with a file store and
//     `sync_interval: always`, in a process of its own, as the broker is.
//
// The program is also the processes that it needs beside itself: with roleVariable set
// it is that Caddy, or that NATS server.
//
// Its module is its own, so that the product depends neither on NATS nor on a plotting
// library. It uses the helpers of the tests; see stage.
package main
