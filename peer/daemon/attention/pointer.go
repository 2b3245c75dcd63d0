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
	maxNameWords = 3  // of a name; more would read as a sentence
)

// pointerText returns the text that announces unread messages.
func pointerText(unread []*message) string {
	what, them := "messages", "them"
	if len(unread) == 1 {
		what, them = "message", "it"
	}
	return fmt.Sprintf("%d unread mesh %s from %s: read %s with check_messages", len(unread), what, senders(unread), them)
}

// senders names the members that sent the messages, in the order of their oldest message. It
// only counts members without a presentable name or with the name of another member.
func senders(unread []*message) string {
	unread = slices.SortedFunc(slices.Values(unread), func(a, b *message) int { return cmp.Compare(a.ID, b.ID) })
	var names []string
	named := make(map[string]bool) // the members so far, and whether by name
	for _, m := range unread {
		if named[m.Member] || len(names) == maxNames {
			if !named[m.Member] {
				named[m.Member] = false // counted
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

// presentable returns a name in the form that a pointer may show, or "" if the name could pass
// for more than a name. It quotes a name of several words so that it can't read as part of the
// sentence.
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
		default: // also an extra space
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
