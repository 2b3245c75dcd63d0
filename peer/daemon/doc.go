// Package daemon is the process that keeps a user's sessions connected: one per
// configuration directory, started by whatever needs it.
//
// It holds one control-plane connection for each joined mesh, which takes the
// mail of the member, and one connection for each live session in each of its
// meshes, under the session's own key. Other processes reach it over a Unix
// socket, in the terms of package local. It knows nothing of the program whose
// sessions these are: what it needs to know comes through [Host].
//
// # Sessions and processes
//
// A session lives while one of its processes does. A process is its number in a pid
// namespace and its start ([process.ID]); one in another namespace than the daemon's
// lives by its hooks and streams. It is registered by its owner, runs one session at a
// time, and holds a token that speaks for the session that it runs. Sessions and
// processes are on disk, so that a daemon that comes back after a crash connects
// those that still live.
//
// # Nothing gets lost
//
// A message that is sent is on disk before its sender hears of its id; a worker
// for each connection sends in order, under an id of the client's that the broker
// delivers once. A received message is acknowledged to the broker when it is on
// disk. Confirmations for senders are on disk too, until the broker has them.
// Hence a kill at any moment repeats at most what is harmless to repeat.
//
// # Concurrency
//
// Daemon.changes is held by whatever changes which process runs which session,
// and while it writes that to disk: there is one such change at a time. Daemon.mu
// guards the maps that everything else reads, and is never held across I/O. A
// session's and a line's own mutex guard their fields; they are taken after mu.
// Every goroutine belongs to the group that Run waits for.
package daemon
