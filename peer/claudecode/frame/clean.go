package frame

import (
	"strings"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/visible"
)

// inText and inQuotes escape the characters that could end a text or an attribute.
var (
	inText   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	inQuotes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")
)

// body returns the start of a text, made visible, escaped, and cut to limit characters. taken
// is the number of characters of the text that this covers.
func body(text string, limit int) (escaped string, taken int) {
	if !utf8.ValidString(text) {
		text = string([]rune(text)) // each invalid byte becomes U+FFFD
	}
	escaped, end := visible.Head(text, visible.Model, limit, inText.Replace)
	return escaped, utf8.RuneCountInString(text[:end])
}

// value cuts a text to limit characters and escapes it as the value of an attribute.
func value(text string, limit int) string {
	return inQuotes.Replace(visible.Short(text, visible.Model, limit))
}
