// Package daemon implements the process that keeps a user's sessions connected. There
// is one per configuration directory, and any command that needs it starts it.
//
// The daemon holds one control connection for each joined mesh, which receives the
// member's mail, and one connection for each live session in each of its meshes,
// under the session's own key. Other processes reach it over a Unix socket with the
// protocol of package local. The daemon does not depend on the program that runs the
// sessions: it observes that program through [Host].
//
// # Sessions and processes
//
// A session is live while one of its processes is alive. A pid, its namespace and a
// start time identify a process ([process.ID]). The daemon can't observe a process in
// another namespace, which counts as alive as long as its hooks and streams show it.
// The owner registers each process. A process runs one session at a time and holds a
// token for that session. Sessions and processes are on disk, so that the daemon
// reconnects those that are still alive after a crash.
//
// # Nothing gets lost
//
// The daemon stores a message on disk before it tells the sender the message's id. A
// worker for each connection sends in order, under a client id that the broker
// delivers only once. The daemon acknowledges a received message to the broker once
// the message is on disk. Confirmations for senders stay on disk until the broker has
// them. A kill at any moment therefore repeats only what is harmless to repeat.
//
// # Files
//
// The daemon's life:
//
//	daemon.go      Run: what a daemon is made of, start and stop
//	lock.go        one daemon per directory, and recovery of its deleted files
//	socket.go      the socket on which it listens
//	announce.go    the files that other programs read to reach it, and session tickets
//	server.go      calls: authorization, dispatch, errors
//	restore.go     restoring what the previous daemon left
//	watch.go       periodic checks
//	sleep.go       noticing that the machine has slept
//	start.go       starting, finding and stopping a daemon from another process
//	service.go     the daemon as a service of systemd or launchd
//	logfile.go     its log
//	overview.go    what `claudemesh daemon status` and the status line show
//
// Sessions and processes:
//
//	register.go    registering that a process runs a session, with its meshes and name
//	sessions.go    which session each process runs
//	session.go     one live session
//	leave.go       a process leaves its session
//	succession.go  a session succeeds one that was cleared
//	lifesigns.go   signs of life of processes that the daemon can't observe
//	hooks.go       what hooks report about a session
//	status.go      the activity of a session
//	setstatus.go   what a session sets itself: summary, status, groups
//	reach.go       why a session can't read its mail
//	pointers.go    pointers that hooks are about to print
//	wake.go        streams that wake a session
//
// Meshes and messages:
//
//	meshes.go         the joined meshes
//	connect.go        which connections a session has, under which keys
//	line.go           one connection to a broker
//	tellstatus.go     telling the broker what a session is doing
//	roster.go         the peers in a mesh
//	peers.go          the roster in the form that a session gets
//	recipient.go      finding the recipient of a message
//	send.go           messages from a session
//	send_member.go    messages from the member
//	outbox.go         the worker that sends them
//	messagestatus.go  how far a message has come
//	receipts.go       received messages, and receipts in both directions
//	checkmessages.go  messages that a session fetches
//	incontext.go      whether fetched messages have reached its context
//
// Package store keeps the state on disk. Package attention decides when to announce mail to a
// session.
//
// # Concurrency
//
// A goroutine that changes which process runs which session holds daemon.changes,
// also while it writes to disk, so that there is one such change at a time. daemon.mu
// guards the maps that all other code reads, and is never held across I/O. The mutexes
// of a session and of a line guard their own fields, and are taken after mu.
// A function whose name ends in Locked needs the lock that its comment names.
// Every goroutine belongs to the group that Run waits for.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package daemon
