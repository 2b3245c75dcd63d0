// Package transcript finds the conversations that Claude Code keeps on disk, by the
// rules that version 2.1.330 was seen to follow: where those of a working directory
// are, and which of them --continue goes on with.
//
// It only reads, looks at no more of a file than it needs, and has no state.
package transcript
