package launch

import (
	"fmt"
	"strings"

	"github.com/claudemesh/claudemesh/wire"
)

// ParseGroups reads a list such as "frontend:lead,backend": names of groups, each
// with the session's role in it, if it has one. '@' before a name is skipped.
func ParseGroups(list string) ([]wire.Group, error) {
	var groups []wire.Group
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimPrefix(strings.TrimSpace(item), "@")
		if item == "" {
			continue
		}
		name, role, _ := strings.Cut(item, ":")
		if !wire.ValidGroup(name) {
			return nil, fmt.Errorf("%q can't be the name of a group", name)
		}
		if len(role) > wire.MaxNameLen {
			return nil, fmt.Errorf("the role in %s is longer than %d bytes", name, wire.MaxNameLen)
		}
		groups = append(groups, wire.Group{Name: name, Role: role})
	}
	if len(groups) > wire.MaxGroups {
		return nil, fmt.Errorf("a session can be in %d groups at most", wire.MaxGroups)
	}
	return groups, nil
}

// formatGroups writes what ParseGroups reads.
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
