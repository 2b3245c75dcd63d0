// Package simulation holds a deterministic simulation of the broker's core, and nothing else:
// connections, presence, queue, journal, audit log and mesh directory run as they are, in the
// virtual time of testing/synctest, over a network and a storage that are simulated in memory and
// fail on command.
//
// # Schedules
//
// A schedule is a list of steps that is made from its seed before anything runs: sessions and
// daemons that come, go, take over, fall silent, read nothing, or acknowledge nothing or messages
// of others; messages of every kind; statuses, hooks, groups and successions; a storage that is
// slow, away, frozen, or that commits and loses the answer; crashes and restarts of the broker; a
// broker that is cut off from the storage while another one takes over, and that goes on with its
// sockets and its late commits until it hears of that. Steps follow each other at once, at rest, or
// after seconds to minutes.
//
// # What is checked
//
// While a schedule runs, a ledger of what clients have sent and seen says what must, may and must
// not happen. Every frame that arrives is checked against the ledger. More is checked whenever
// everything has come to rest, and all of it at the end, once every peer is back. Where clients
// can't know what happened (was the hello served before the line was cut?), the ledger is in doubt
// and demands nothing. A restarted broker must know what its storage has committed, and the storage
// must have committed what a healthy one would have by then. A broker that has lost the storage, or
// may have, must not send what only the owner of the storage may send.
//
// # Several nodes
//
// TestCluster runs nodes that share the modelled database, with the code of package cluster over
// it: nodes that die, drain, have a wrong clock, or are cut off from the database or from each
// other; whole processes that stand still for a while, at any moment or in the middle of a commit;
// a clock of the database that is set forward or back, by more than a lease; meshes that are handed
// over, or that the database gives to another node without a word; notifications that are lost.
// Guests send one message after the other through any node. Each message must arrive, in order;
// only the owner of a mesh may push its messages or let somebody in, except that what it was about
// to write when its process was stopped still comes when the process goes on, and that a node that
// was removed early, because the database's clock was set forward, may trust its lease to the end;
// the audit chains must hold. TestClusterWithoutSafeguards removes the fence, the suspension, or
// the count of renewals, and checks that the schedules then break a promise.
//
// # Locks
//
// One lock guards the ledger: world.mu, or crowd.mu with several nodes. The functions that model a
// peer, its connections, its messages and its status need it, unless they take it themselves: those
// are the ones that a goroutine, a timer or a step begins with.
//
// # When it fails
//
// The test prints the seed, the broken promises and the steps, and then the smallest schedule that
// still breaks a promise. Run it again with
//
//	go test ./broker/simulation -run TestSimulation -seed N -schedules 1 [-steps 3,17,42]
//
// Go decides the order of goroutines within one moment, so a failure that depends on it may take
// several runs (-count) to occur again.
package simulation
