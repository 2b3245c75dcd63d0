// Package install makes the plugin permanent in Claude Code, together with the status
// line, and takes both out again.
//
// Claude Code itself adds and removes plugins (`claude plugin`). It writes the whole
// of settings.json anew for that: in an order and indentation of its own, without
// rules that it does not understand, and with empty objects left behind. So the text
// from before is kept, and what Claude Code has written is replaced by the user's
// own text with nothing but the new entries added.
// Uninstall restores the text from before if nothing else has changed since, and
// otherwise takes only these entries out of the text as it is now.
//
// Files are replaced as a whole; symbolic links to them stay. Two installations at
// the same time wait for each other.
package install
