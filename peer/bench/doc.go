// Package bench puts load on a broker and measures how fast messages arrive. It also checks
// that each message arrives, exactly once and in order.
//
//	result, err := bench.Run(ctx, bench.Throughput, bench.Config{Mesh: mesh}, bench.Defaults(bench.Throughput))
//
// # The load
//
// All sessions of the load belong to the member in [Config.Mesh]. Each has a key that lives as
// long as the run. The broker only needs to know that member. The broker's limits for one
// member apply to all of them together, so raise the limits (send_rate_per_min, send_burst)
// for meaningful figures. Refused messages are counted and explained; they do not count as
// lost. [Fanout] needs a second member: a broadcast does not reach the sessions of its
// sender's own member, so the sender is a guest that Run invites, or [Config.Sender].
//
// A session is one WebSocket and one reading goroutine. It doesn't use peer.Client, which
// seals every message, drops duplicates and needs four goroutines: the load must cost less
// than what it measures, and it must see duplicates. A session encodes its frame once and
// then only overwrites the ids. With [Settings.Crypto], bodies are sealed and opened like the
// client does; otherwise they are random bytes of the same length.
//
// # Files
//
//	settings.go    kinds of load, and their settings
//	run.go         runs a load from set-up to report
//	load.go        the sessions of a load, and whom they send to
//	session.go     one session: its connection and reader
//	frame.go       makes and reads the frames of the load
//	pairs.go       throughput, fill and rate: each sender has a recipient
//	burst.go       sends in bursts
//	fanout.go      one message to many
//	sessions.go    idle sessions, and reconnecting all at once
//	soak.go        a long run, in intervals
//	pace.go        waits until a message is due
//	pace_linux.go  sleeps precisely
//	pace_other.go  sleeps as the system does
//	ledger.go      what became of each message
//	histogram.go   counts durations
//	gauge.go       reads the broker's metrics and collects its garbage
//	troubles.go    counts and explains refusals
//	result.go      the result as JSON
//	compare.go     compares two results
//
// # The ledger
//
// The id of a message contains its sender and its place, that is, its number among the
// sender's messages. The sender's ledger records which messages were acknowledged and which
// arrived. A message that was acknowledged but never delivered is lost. A second delivery
// with the same broker id is a redelivery, which the protocol allows; with another broker id
// it is a duplicate. A ledger drops settled messages after two minutes, so that a run of days
// needs no more memory than a run of minutes.
//
// # Times
//
// send→push is the time from just before a message is written (or sealed) until its push is
// read (or opened). Both ends are in this process, so no clocks are compared. In [Rate],
// [Soak] and [Storm] the time starts when the message was due, so that a broker that stalls
// can't hide that by stalling the load, too (coordinated omission).
//
// Run owns its goroutines: when it returns, they have ended, and all sessions have left the
// mesh. Concurrent runs must not share a Config.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package bench
