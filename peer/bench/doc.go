// Package bench puts load on a broker of protocol v1 and measures what becomes of
// it: how fast messages arrive, and whether each one does, once and in order.
//
//	result, err := bench.Run(ctx, bench.Throughput, bench.Config{Mesh: mesh}, bench.Defaults(bench.Throughput))
//
// # The load
//
// Every session of the load is a session of the member whose credentials are in
// [Config.Mesh], under a key that lives as long as the run: the broker must know
// that member and needs nothing else. The member's limits hold, so a broker with the
// limits for people has to be given others (send_rate_per_min, send_burst) before
// figures mean anything; what it refuses is counted and explained, and is not lost.
// The one exception is [Fanout]: a broadcast does not reach the sessions of its
// sender's own member, so the sender is a guest that is invited for the run, or
// [Config.Sender].
//
// A session is one WebSocket and one goroutine that reads. It does not use
// peer.Client, which seals every message, drops what it has seen and keeps four
// goroutines: the load must cost less than what it measures, and it has to see
// duplicates. Frames are encoded once per session, and of each message only the ids
// are written anew. With [Settings.Crypto] bodies are sealed and opened as the
// client does it; else they are random bytes of the same length.
//
// # The ledger
//
// Each message has an id that names its sender and its place in the sender's row.
// The sender's ledger remembers what was acknowledged and what arrived, and knows at
// the end what was lost: acknowledged, and never delivered. A delivery that is
// repeated under the broker's id of the first is a redelivery, which the protocol
// allows; under another id it is a duplicate. A ledger forgets what is settled after
// two minutes, so that a run of days needs no more memory than one of minutes.
//
// # Times
//
// send→push is from the moment before a message is written, or sealed, until its
// push was read, or opened; both ends are in this process, so no clocks are
// compared. In [Rate], [Soak] and [Storm] it counts from the moment at which the
// message should have gone out, so that a broker that stalls can't hide it by
// stalling the load too (coordinated omission).
//
// Run owns its goroutines: when it returns, all of them have ended, and the sessions
// have taken their leave. A Config must not be shared by runs at the same time.
package bench
