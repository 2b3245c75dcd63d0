// Command standin imitates the interfaces of Claude Code 2.1.330: the command line, session
// ids and transcripts, the status files, hooks, MCP servers, monitors, plugins, and the calls of
// the Messages API. It lets tests run where the real program isn't available. Its behavior
// follows observations of the real program; package claude runs the same tests against both.
//
// It has no screen: it reads keys from standard input (Enter is \r or \n, Esc is \x1b) and
// prints events line by line.
//
// One goroutine, the loop of [app], handles keys, monitors and waiters. A turn runs in a second
// goroutine, so that a key can interrupt it.
//
// # Files
//
//	main.go      the command line, from start to exit
//	args.go      its options
//	app.go       the loop that handles keys, monitors and waiters
//	turn.go      a turn: the model, its tools, and the permission for them
//	api.go       calls of the Messages API
//	session.go   conversations and their transcripts
//	status.go    the status file of the process
//	hook.go      hooks
//	mcp.go       MCP servers
//	monitor.go   monitors, and the texts of notifications
//	plugin.go    loads plugins
//	settings.go  settings.json, and `claude plugin`
//	screen.go    what would be on the screen
//
// CLAUDE_STANDIN_NO_MONITORS=1 disables monitors, like some installations of the real program.
package main
