// Package torture injects faults into a real broker under load, repeatedly, and keeps a
// ledger of every message.
//
// A scenario starts the real binaries and a mesh with a few peers that all send to each
// other without a pause. It injects one kind of fault: kills, outages of the database, bad
// networks, bad peers or wrong clocks. The peers are raw v1 clients with several messages in
// flight, clients of package peer, and sessions of claudemesh daemons. When the faults are
// over, the scenario waits for everything in flight. Then the ledger must balance: each
// recipient of an acknowledged message got the message exactly once, and in order per sender
// and recipient.
//
// By default each scenario injects a few faults. `make torture` cycles through the scenarios
// for a given time, optionally only through those of one fault:
//
// make torture FOR=30m FAULT=kill-broker
//
// Both print the ledger as a table.
//
// TestAbuse is separate: one member attacks a broker with the default limits in various
// ways. A table shows the effect on an innocent pair in the same mesh and on one in another
// mesh. `make torture FAULT=abuse` runs only this test.
//
// TestNamespaces is separate, too, because it needs root: three nodes, a load balancer, a Postgres and its
// synchronous standby run in network namespaces of their own, and faults of all kinds come in random
// order. `make torture FAULT=namespaces` runs only this test, FAULT=namespaces/cut/owner-database only some
// of its faults, and SEED repeats an order. A second table says how long clients had to wait under each
// fault: new ones until a node served the mesh, and messages, from package peer and from raw clients, until
// they were acknowledged. The raw clients give up a silent connection only after 15 s. Clients of
// package peer pause for longer before each reconnect if their connections last for less than a minute, as under
// one fault after the other. If nobody can serve
// under a fault, as without a database, the table counts from its end.
//
// A scenario injects its next fault only after a certain number of further messages have
// arrived, so that there is always load. It skips a fault, and says why, that the machine
// doesn't support, such as a small disk without root, or moving a clock on a processor other
// than amd64.
package torture
