// Package visible says what may be shown of a text that others wrote, to a person
// or to a model, and how to cut it.
//
// A code point that shows nothing, or that changes how the text around it is shown,
// is shown by its number, such as \u{200B}. Which ones these are, Unicode's
// properties say: controls, format and default-ignorable code points, private,
// unassigned and surrogate ones, variation selectors, and blanks that are no spaces.
// A joiner or a selector stays where writing needs it: in an emoji, after a virama,
// between two letters that would join. There it stands alone between characters that
// show, so that no run of them can spell a hidden text.
//
// The same rule holds for every outlet. Text and Line write for a terminal or a model,
// JSON for programs, Short and Head where room is short. What they return
// stays as it is when they are applied to it again.
//
// Cut is how a text is shortened everywhere: whole characters as people count them. Fit
// does it for a terminal, whose columns Columns counts.
package visible
