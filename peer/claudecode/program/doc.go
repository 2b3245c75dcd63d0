// Package program locates the Claude Code program on this machine and its files, and knows
// which environment variables it passes to the processes that it starts. All functions only
// read the environment and are safe for concurrent use.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package program
