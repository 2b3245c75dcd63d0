// Package settings changes single entries in the text of a JSON file that belongs to
// somebody else, and leaves all the rest of the text as it is: order, indentation,
// line ends. To remove what was set last gives back the text from before.
//
// Paths are member names from the top object down. Of members with the same name the
// last one counts, as in JavaScript.
package settings
