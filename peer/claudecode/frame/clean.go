package frame

import (
	"strings"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/visible"
)

// inText and inQuotes write what could end a text or an attribute as entities.
var (
	inText   = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	inQuotes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")
)

// body returns the start of a text, as it may be shown and escaped, of at most limit
// characters, and how many characters of the text that is.
func body(text string, limit int) (escaped string, taken int) {
	if !utf8.ValidString(text) {
		text = string([]rune(text)) // each byte that is none becomes U+FFFD
	}
	escaped, end := visible.Head(text, visible.Model, limit, inText.Replace)
	return escaped, utf8.RuneCountInString(text[:end])
}

// value returns a text as an attribute's value: short, before escaping.
func value(text string, limit int) string {
	return inQuotes.Replace(visible.Short(text, visible.Model, limit))
}
