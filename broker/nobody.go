package broker

import (
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// reachesNobodyLocked explains why a message to many has no recipient: the group has no connected
// peer, or nobody belongs to it.
func (c *conn) reachesNobodyLocked(m *wire.Send) *refusal {
	var empty, unknown []string
	for _, t := range m.Targets {
		switch {
		case t.Kind != wire.TargetGroup:
			return &refusal{wire.AckTargetNotFound, "nobody else is here now, and a message to everybody goes only to connected peers"}
		case c.isGroupLocked(t.Name):
			empty = append(empty, "@"+t.Name)
		default:
			unknown = append(unknown, "@"+t.Name)
		}
	}
	if len(empty) > 0 {
		return &refusal{wire.AckTargetNotFound, "nobody else is in " + strings.Join(empty, ", ") + " now, and a message to a group goes only to connected peers"}
	}
	return &refusal{wire.AckTargetNotFound, "there is no group " + strings.Join(unknown, ", ") + ": nobody belongs to it"}
}

// isGroupLocked reports whether a peer is in a group, or a member belongs to it.
func (c *conn) isGroupLocked(name string) bool {
	if slices.ContainsFunc(c.room.presences.All(), func(p *presence.Presence[*conn]) bool {
		return (p.Visible || p.MemberKey == c.member) && presence.InGroup(p.Groups, name)
	}) {
		return true
	}
	for _, m := range c.room.members.Members() {
		if !m.Removed() && presence.InGroup(m.Groups, name) {
			return true
		}
	}
	return false
}
