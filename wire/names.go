package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const groupNameWant = "1-128 bytes without spaces, invisible characters, commas, '@' or '#', and with '/' only between names"

// ValidGroup reports whether name can be a group: path segments joined by '/', made of
// visible characters. People type group names, so a name must not hold characters that
// they can't see.
func ValidGroup(name string) bool {
	if name == "" || len(name) > MaxNameLen || !utf8.ValidString(name) {
		return false
	}
	prev := '/'
	for _, r := range name {
		if !isSeen(r) || strings.ContainsRune(",@#", r) || r == '/' && prev == '/' {
			return false
		}
		prev = r
	}
	return prev != '/'
}

// isSeen reports whether a character is visible on its own.
func isSeen(r rune) bool {
	const brailleBlank = '\u2800'
	return unicode.IsGraphic(r) && !unicode.IsSpace(r) && r != brailleBlank &&
		!unicode.In(r, unicode.Zs, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

const nameWant = "free of control and format characters"

// ValidName reports whether s is empty or a valid name other than a group's: a
// display name, role, host name, title and so on. A name is one line of text. It has
// no control characters, line separators or format characters, because these could
// steer a terminal or reverse the text's direction; the format characters that words
// and emoji are made of are allowed.
func ValidName(s string) bool {
	return len(s) <= MaxNameLen && !strings.ContainsFunc(s, steers)
}

// CleanName turns s into a valid name: it drops forbidden characters and truncates the
// rest to MaxNameLen bytes.
func CleanName(s string) string {
	s = strings.Map(func(r rune) rune {
		if steers(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	if len(s) <= MaxNameLen {
		return s
	}
	end := MaxNameLen
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// steers reports whether a name must not hold r.
func steers(r rune) bool {
	switch {
	case unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp):
		return true
	case r == '\u200c' || r == '\u200d': // the joiners
		return false
	case 0xe0020 <= r && r <= 0xe007f: // tags, which make up some flags
		return false
	}
	return unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// name is str for a name.
func (f *fields) name(name string) string {
	s := f.bounded(name, MaxNameLen)
	if !ValidName(s) {
		f.fail(name, nameWant)
		return ""
	}
	return s
}

// group reads the fields of a group.
func (f *fields) group() Group {
	g := Group{Name: f.need("name"), Role: f.name("role")}
	if f.err == nil && !ValidGroup(g.Name) {
		f.fail("name", groupNameWant)
	}
	return g
}

// bounded is str for a text of at most limit bytes.
func (f *fields) bounded(name string, limit int) string {
	s := f.str(name)
	if len(s) > limit {
		f.fail(name, fmt.Sprintf("at most %d bytes", limit))
		return ""
	}
	return s
}
