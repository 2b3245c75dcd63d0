// Package settings changes single entries in the text of a JSON file that belongs to another
// program, and leaves the rest of the text as it is: order, indentation and line endings.
// Removing the entry that was set last restores the previous text.
//
// A path lists member names from the top object down. If several members have the same name,
// the last one counts, as in JavaScript.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package settings
