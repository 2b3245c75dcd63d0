// Package diagnose looks in Claude Code's settings for what keeps claudemesh from
// working: hooks that are turned off, and other programs that do the same. It only
// reads. What it finds it says in sentences that tell what to do.
package diagnose
