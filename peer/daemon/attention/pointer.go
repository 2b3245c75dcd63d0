package attention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/claudemesh/claudemesh/visible"
)

const (
	maxNames     = 3  // names in a pointer
	maxNameRunes = 32 // of a name
	maxNameWords = 3  // of a name: a sentence is none
)

// pointerText tells of unread messages.
func pointerText(unread []*message) string {
	what, them := "messages", "them"
	if len(unread) == 1 {
		what, them = "message", "it"
	}
	return fmt.Sprintf("%d unread mesh %s from %s: read %s with check_messages", len(unread), what, senders(unread), them)
}

// senders names the members that the messages are from, in the order of their
// oldest message. Whoever has no presentable name, or another's, is only counted.
func senders(unread []*message) string {
	unread = slices.SortedFunc(slices.Values(unread), func(a, b *message) int { return cmp.Compare(a.ID, b.ID) })
	var names []string
	named := make(map[string]bool) // the members met, and whether by name
	for _, m := range unread {
		if named[m.Member] || len(names) == maxNames {
			if !named[m.Member] {
				named[m.Member] = false // met
			}
			continue
		}
		name := presentable(m.Name)
		if name == "" {
			name = presentable(m.Pinned)
		}
		named[m.Member] = name != "" && !slices.Contains(names, name)
		if named[m.Member] {
			names = append(names, name)
		}
	}
	others := len(named) - len(names)
	switch {
	case len(names) == 0 && others == 1:
		return "a peer"
	case len(names) == 0:
		return fmt.Sprintf("%d peers", others)
	case others == 1:
		names = append(names, "1 other peer")
	case others > 1:
		names = append(names, fmt.Sprintf("%d other peers", others))
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// presentable returns a name as it may stand in a pointer, or "" for one that
// could pass for more than a name. A name of several words is put in quotes, so
// that it can't read as a part of the sentence.
func presentable(name string) string {
	words, runes, before := 0, 0, ' '
	for _, r := range name {
		switch {
		case r == ' ' && before != ' ':
		case strings.ContainsRune("-_.", r), visibleLetter(r):
			if before == ' ' {
				words++
			}
		case unicode.IsMark(r) && unicode.IsLetter(before) && visible.Shows(r): // é as two runes, vowel signs
		default: // a space too many too
			return ""
		}
		if runes++; runes > maxNameRunes || words > maxNameWords {
			return ""
		}
		before = r
	}
	switch {
	case before == ' ', !strings.ContainsFunc(name, visibleLetter):
		return ""
	case words > 1:
		return `"` + name + `"`
	}
	return name
}

func visibleLetter(r rune) bool {
	return (unicode.IsLetter(r) || unicode.IsDigit(r)) && visible.Shows(r)
}
