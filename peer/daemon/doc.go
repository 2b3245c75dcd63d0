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
// # Files
//
// The daemon's life:
//
//	daemon.go      Run: what a daemon is made of, start and stop
//	lock.go        one daemon per directory; it takes back files that were taken from it
//	socket.go      where it listens
//	announce.go    the files that tell others how to reach it, and the tickets of sessions
//	server.go      calls: who may make which, how errors are told
//	restore.go     what the daemon before has left
//	watch.go       what it looks at every second
//	sleep.go       whether the machine has slept
//	start.go       starting, finding and stopping a daemon from another process
//	service.go     the daemon as a service of systemd or launchd
//	logfile.go     its log
//	overview.go    what `claudemesh daemon status` and the status line show
//
// Sessions and processes:
//
//	register.go    a process runs a session: who it is, in which meshes, under which name
//	sessions.go    which session each process runs
//	session.go     one live session
//	leave.go       a process has left its session
//	succession.go  a session goes on for one that was cleared
//	lifesigns.go   whether a process lives that can't be looked at
//	hooks.go       what hooks tell of a session
//	status.go      what a session is doing
//	setstatus.go   what a session says of itself: summary, status, groups
//	reach.go       why a session can't read its mail
//	pointers.go    pointers to mail that hooks are about to print
//	wake.go        streams that wake a session
//
// Meshes and messages:
//
//	meshes.go         the joined meshes
//	connect.go        which connections a session has, under which keys
//	line.go           one connection to a broker
//	tellstatus.go     the broker is told what a session is doing
//	roster.go         who is in a mesh
//	peers.go          the roster as a session sees it
//	recipient.go      whom a message goes to
//	send.go           messages of a session
//	send_member.go    messages of the member
//	outbox.go         the worker that sends them
//	messagestatus.go  how far a message came
//	receipts.go       received messages, and receipts in both directions
//	checkmessages.go  messages that a session fetches
//	incontext.go      whether what it fetched has come into its context
//
// What is on disk is in package store, when a session is told of mail in package attention.
//
// # Concurrency
//
// Daemon.changes is held by whatever changes which process runs which session,
// and while it writes that to disk: there is one such change at a time. Daemon.mu
// guards the maps that everything else reads, and is never held across I/O. A
// session's and a line's own mutex guard their fields; they are taken after mu.
// A function whose name ends in Locked needs the lock that its comment names.
// Every goroutine belongs to the group that Run waits for.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package daemon
