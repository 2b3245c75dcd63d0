// Package program knows the Claude Code program on this machine: where it is,
// where it keeps its files, and what it hands to the processes that it starts.
// All functions only read the environment and are safe for concurrent use.
package program
