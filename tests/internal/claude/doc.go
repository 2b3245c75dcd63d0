// Package claude starts Claude Code in tests: the real program in a tmux of its own,
// or the stand-in of package standin, through one type. Both run in a home directory
// and an environment that hold nothing of the user's, against a mock of the Messages
// API on loopback.
//
// What a test asks for is taken from what Claude Code publishes (the files in
// ~/.claude/sessions) rather than from the screen, so that one scenario serves both.
package claude
