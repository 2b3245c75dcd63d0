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
// The program also plays the processes that it needs: roleVariable turns it into that Caddy or
// that NATS server.
//
// The program has its own module, so that the product depends neither on NATS nor on a
// plotting library. It uses the helpers of the tests; see stage.
package main
