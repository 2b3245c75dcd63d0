// Package diagnose finds settings of Claude Code that keep claudemesh from working: hooks
// that are turned off, and other mesh clients. It only reads. Its findings are texts that
// say what to do.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package diagnose
