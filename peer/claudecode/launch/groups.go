package launch

import (
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/wire"
)

// ParseGroups parses a list such as "frontend:lead,backend": names of groups, each optionally
// followed by the session's role in the group. A name may begin with '@'.
func ParseGroups(list string) ([]wire.Group, error) {
	var groups []wire.Group
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimPrefix(strings.TrimSpace(item), "@")
		if item == "" {
			continue
		}
		name, role, _ := strings.Cut(item, ":")
		if !wire.ValidGroup(name) {
			return nil, fmt.Errorf("%q isn't a valid group name", name)
		}
		if len(role) > wire.MaxNameLen {
			return nil, fmt.Errorf("the role in group %s is too long: at most %d bytes are allowed", name, wire.MaxNameLen)
		}
		groups = append(groups, wire.Group{Name: name, Role: role})
	}
	if len(groups) > wire.MaxGroups {
		return nil, fmt.Errorf("too many groups: a session can be in at most %d", wire.MaxGroups)
	}
	return groups, nil
}

// formatGroups is the inverse of ParseGroups.
func formatGroups(groups []wire.Group) string {
	items := make([]string, len(groups))
	for i, g := range groups {
		items[i] = g.Name
		if g.Role != "" {
			items[i] += ":" + g.Role
		}
	}
	return strings.Join(items, ",")
}
