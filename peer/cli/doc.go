// Package cli implements the claudemesh command and its verbs, for people and for scripts.
// Results go to standard output, everything else to standard error. The exit code is 0 on
// success, 1 if the command was refused or failed, 2 if the command line was wrong, and 130
// after an interrupt. send also has 3.
//
// # Where a verb is
//
// The command of a verb is in the file with its name: send.go contains `claudemesh send`. A
// file with a longer name, such as send_daemon.go, contains a part of that verb. Other verbs:
//
//	fate.go, follow.go  what becomes of a sent message, for send, reply and status
//	grant.go            grant, block, unblock
//	help.go             help, and the order of the verbs
//	leave.go            leave, rename
//	mesh.go             create, join, meshes, forget
//	moderate.go         kick, ban, unban, bans
//
// What several verbs share:
//
//	root.go             the app: runs a command line, and chooses the exit code
//	connect.go          connects to the broker of the mesh that the flags choose
//	words.go, hints.go  explain wrong command lines, and say what to type
//	complete.go         completes words in a shell
//	ask.go, form.go     ask the user
//	values.go           flags with values of their own kind
//	moment.go           flags that are a time
//	render.go, table.go print text of others safely, and tables
//	progress.go         says what a command waits for
//	sentlist.go         remembers what was sent, for completions
//	watch.go            follows a mesh, for top and peers
//	man.go              writes the manual pages
//
// This package is for claudemesh itself; outsiders should not rely on it.
package cli
