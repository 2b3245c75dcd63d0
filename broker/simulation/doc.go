// Package simulation holds a deterministic simulation of the broker's core, and
// nothing else: connections, presence, queue, journal, audit log and mesh
// directory run as they are, in the virtual time of testing/synctest, over a
// network and a storage that are made of memory and fail as told.
//
// # Schedules
//
// A schedule is a list of steps that is made from its seed before anything runs:
// sessions and daemons that come, go, take over, fall silent, read nothing,
// acknowledge nothing or what is not theirs; messages of every kind; statuses,
// hooks, groups and successions; a storage that is slow, away, frozen, or that
// commits and loses the answer; crashes and restarts of the broker; a broker that is cut
// off from the storage while another one takes over, and that goes on with its sockets and
// its late commits until it hears of that. Steps follow each other at once, at rest, or
// after seconds to minutes.
//
// # What is checked
//
// While it runs, a ledger of what clients have sent and seen says what must be,
// what may be and what must not be, and every frame that arrives is held against
// it; more is checked whenever things have come to rest, and all of it once
// everybody is back at the end. Where clients can't know (was the hello served before
// the line was cut?) the ledger is in doubt and demands nothing; a restarted
// broker is held to what its storage had committed, and the storage to what a
// healthy one must have committed by then. Nothing that only the owner of the storage may
// say may come from a broker that has lost it, or may have.
//
// # Several nodes
//
// TestCluster runs nodes that share the modelled database, with the code of package cluster
// over it: nodes that die, drain, or are cut off from the database or from each other;
// meshes that are handed over, or that the database gives to another node without a word;
// notifications that are lost. Guests send one message after the other through whichever
// node they find. Each message must come, in order; only the owner of a mesh may push its
// messages or let somebody in; the audit chains must hold. TestClusterWithoutSafeguards takes
// the fence and the suspension out, and checks that the schedules find that.
//
// # When it fails
//
// The seed, what was broken and the steps are printed, and then the least steps
// that still break it. Run again with
//
//	go test ./broker/simulation -run TestSimulation -seed N -schedules 1 [-steps 3,17,42]
//
// The order of goroutines within one moment is Go's: a failure that hangs on it may
// take several runs (-count) to come again.
package simulation
