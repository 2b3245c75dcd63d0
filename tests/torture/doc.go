// Package torture breaks a broker that runs as its users run it, again and again and
// under load, and keeps a ledger of every message.
//
// A scenario starts the real binaries, a mesh with a handful of peers that all send
// to each other without a pause, and injects one kind of fault: kills, outages of the
// database, bad networks, bad peers, wrong clocks. The peers are raw clients of
// protocol v1 that keep several messages under way, clients of package peer, and
// sessions of claudemesh daemons. In the end the fault is over, everything under way
// is waited for, and the ledger must balance: every acknowledged message was taken by
// each of its recipients, by none twice, and in order per sender and recipient.
//
// By default each scenario runs for a few faults. `make torture` cycles through them for
// as long as one likes, or through those of one fault:
//
//	make torture FOR=30m FAULT=kill-broker
//
// Either way the ledger is printed as a table.
//
// TestAbuse is another section: one member does its worst to a broker with the default
// limits, and the table says what an innocent pair in the same mesh and one in another
// mesh notice of it. `make torture FAULT=abuse` runs it alone.
//
// Faults are injected when so many further messages have arrived: the load is never
// merely assumed. What can't be had on a machine (a small disk without root, a clock to
// move on a processor other than amd64) is skipped with its reason.
package torture
