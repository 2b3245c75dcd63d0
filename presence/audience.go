package presence

import (
	"strings"

	"github.com/claudemesh/claudemesh/wire"
)

// Audience appends to dst the recipients of a message to a group, or to everybody if
// group is "": the visible presences, online or leased, of all members but the sender. A
// peer in a/b is in a too. The order is arbitrary.
func (r *Room[C]) Audience(dst []*Presence[C], sender wire.Key, group string) []*Presence[C] {
	if group == "" {
		for _, p := range r.list {
			if p.Visible && p.MemberKey != sender {
				dst = append(dst, p)
			}
		}
		return dst
	}
	// Only the first segment is indexed: an entry per ancestor would let one peer
	// cost thousands of them.
	root, _, _ := strings.Cut(group, "/")
	for _, p := range r.group[root] {
		if p.Visible && p.MemberKey != sender && InGroup(p.Groups, group) {
			dst = append(dst, p)
		}
	}
	return dst
}

// InGroup reports whether one of the groups is group or below it.
func InGroup(groups []wire.Group, group string) bool {
	for _, g := range groups {
		rest, ok := strings.CutPrefix(g.Name, group)
		if ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
