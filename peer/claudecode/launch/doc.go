// Package launch prepares the start of Claude Code as a session of meshes. It finds out which
// session claude will run, if possible, registers it with the daemon, and builds claude's
// arguments and environment.
//
// The preparing process becomes claude with execve(2). So it keeps the process id that the
// daemon knows, and exit code and signals need no forwarding.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package launch
