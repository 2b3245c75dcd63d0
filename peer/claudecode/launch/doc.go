// Package launch prepares the start of Claude Code as a session of meshes: which
// session it will be, as far as that can be known, what the daemon is told, and what
// claude is called with.
//
// The process that prepares becomes claude by execve(2): what the daemon knows of it
// by its number stays right, and exit code and signals pass by themselves.
package launch
