// Package claude runs Claude Code in tests, through one type: either the real program in its
// own tmux, or the stand-in of package standin. Both run with their own home directory and
// environment, with a mock of the Messages API on loopback.
//
// Tests observe the files that Claude Code publishes in ~/.claude/sessions, not the screen, so
// that one scenario works with both programs.
package claude
