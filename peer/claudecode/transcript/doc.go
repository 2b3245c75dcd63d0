// Package transcript finds the conversations that Claude Code keeps on disk. It follows the
// observed rules of version 2.1.330: where the conversations of a working directory are, and
// which of them --continue continues.
//
// It only reads, it reads no more of a file than it needs, and it has no state.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package transcript
