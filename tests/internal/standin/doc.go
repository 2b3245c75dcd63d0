// Command standin behaves like Claude Code 2.1.330 where that matters to what
// attaches to it: command line, session ids and transcripts, the status files,
// hooks, MCP servers, monitors, plugins, and the calls of the Messages API. It lets
// tests run where the real program can't be had. What it does was seen on the real
// program; package claude runs one set of tests against both.
//
// There is no screen: keys are read from standard input (Enter is \r or \n, Esc is
// \x1b), what happens is printed line by line.
//
// One goroutine, the loop of [app], reacts to keys, monitors and waiters. A turn runs
// in a second one, so that a key can interrupt it.
//
// CLAUDE_STANDIN_NO_MONITORS=1 leaves out monitors, as some installations of the real
// program do.
package main
