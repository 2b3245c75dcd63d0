// Package claude runs Claude Code in tests, through one type: either the real program in its
// own tmux, or the stand-in of package standin. Both run with their own home directory and
// environment, with a mock of the Messages API on loopback.
//
// Tests observe the files that Claude Code publishes in ~/.claude/sessions, not the screen, so
// that one scenario works with both programs.
//
// # Files
//
//	program.go   which programs there are: the stand-in, and the real one if it is installed
//	home.go      a user: home directory, environment, commands, and what Claude Code publishes
//	session.go   a process of Claude Code and the user at its terminal
//	pipe.go      the terminal of the stand-in
//	tmux.go      the terminal of the real program
//	leftover.go  ends the processes that a test leaves behind
package claude
