// Package install installs the plugin in Claude Code, together with the status line, and
// removes both again.
//
// Claude Code itself adds and removes plugins (`claude plugin`). In doing so it rewrites all
// of settings.json: it changes the order and indentation, drops rules that it doesn't
// understand, and leaves empty objects behind. So Install keeps the previous text, and then
// replaces Claude Code's version by the user's own text plus the new entries. Uninstall
// restores the previous text if nothing else has changed; otherwise it only removes our
// entries from the current text.
//
// Files are replaced atomically, and symbolic links to them stay. Two installations at the
// same time wait for each other.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package install
