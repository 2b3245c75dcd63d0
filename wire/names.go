package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const groupNameWant = "1-128 bytes without spaces, invisible characters, commas, '@' or '#', '/' only between names"

// ValidGroup reports whether name can be a group: path segments joined by '/', of
// characters that can be seen. People type it, so that nothing may be in it that they
// can't tell from nothing.
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

// isSeen reports whether a character shows by itself.
func isSeen(r rune) bool {
	const brailleBlank = '\u2800'
	return unicode.IsGraphic(r) && !unicode.IsSpace(r) && r != brailleBlank &&
		!unicode.In(r, unicode.Zs, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

const nameWant = "without control and format characters"

// ValidName reports whether s may be a name other than a group's, or be empty: a
// display name, role, host name, title and so on. It is one line that nothing steers
// or turns around: no control characters, line separators or format characters but
// those of which words and emoji are made.
func ValidName(s string) bool {
	return len(s) <= MaxNameLen && !strings.ContainsFunc(s, steers)
}

// CleanName makes a valid name of s: it leaves out what may not be there, and cuts what
// is too long.
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

func steers(r rune) bool {
	switch {
	case unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp):
		return true
	case r == '\u200c' || r == '\u200d': // the joiners
		return false
	case 0xe0020 <= r && r <= 0xe007f: // tags, of which flags are made
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
