// Package visible makes text that others wrote safe to show to a person or a model, and cuts
// it to a length.
//
// It replaces each code point that is invisible, or that changes how the text around it
// looks, by its number, such as \u{200B}. Unicode's properties decide which ones these are:
// controls, format and default-ignorable code points, private, unassigned and surrogate ones,
// variation selectors, and blanks other than spaces. A joiner or a selector stays if the
// writing needs it: in an emoji, after a virama, or between two letters that would join.
// There it is always alone between visible characters, so that a run of them can't spell a
// hidden text.
//
// The same rule applies everywhere. Text and Line write for a terminal or a model, JSON for
// programs, and Short and Head for a limited space. All of them are idempotent.
//
// Cut shortens a text without splitting a character as people see it. Fit does the same for a
// terminal, in columns as counted by Columns.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package visible
