package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/claudemesh/claudemesh/wire"
)

// minPrefix is the shortest start of a key that stands for it.
const minPrefix = 8

// candidate is somebody whom a name may mean.
type candidate struct {
	key    wire.Key // to send to
	member wire.Key
	name   string
}

// ambiguousError tells that a name may mean several.
type ambiguousError struct {
	name  string
	found []candidate
}

func (e *ambiguousError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q may be any of these; use the key, or the start of it:", e.name)
	for _, c := range e.found {
		fmt.Fprintf(&b, "\n  %s  %s", c.key.String()[:16], oneLine(c.name))
	}
	return b.String()
}

// isGroupTarget reports whether to is no single recipient: @group, @all, * or #topic.
func isGroupTarget(to string) bool {
	return to == "*" || strings.HasPrefix(to, "@") || strings.HasPrefix(to, "#")
}

// resolve finds whom a display name, a key or the start of a key means, among the
// peers that are connected and the members. A connected peer goes before its own
// member; but a name that belongs to two members is nobody's: whoever connects
// may call itself anything, and must not get what is meant for another. Several
// presences of one member under one name are that member: the broker picks one that
// can open the message. One's own presences count only if nobody else is meant.
func resolve(to string, own wire.Key, peers []wire.PeerRow, members []wire.MemberRow) (candidate, error) {
	live, offline := candidates(peers, members)
	named := func(list []candidate) []candidate {
		found := slices.DeleteFunc(slices.Clone(list), func(c candidate) bool { return !strings.EqualFold(c.name, to) })
		return onePerMember(found)
	}
	found := named(live)
	for _, c := range named(offline) {
		if !slices.ContainsFunc(found, func(f candidate) bool { return f.member == c.member }) {
			found = append(found, c)
		}
	}
	if others := slices.DeleteFunc(slices.Clone(found), func(c candidate) bool { return c.member == own }); len(others) > 0 {
		found = others
	}
	switch len(found) {
	case 0:
		return resolveKey(to, append(live, offline...))
	case 1:
		return found[0], nil
	}
	return candidate{}, &ambiguousError{to, found}
}

// resolveKey finds a key by its start. A whole key needs not be known here: that
// is for the broker to judge.
func resolveKey(to string, all []candidate) (candidate, error) {
	byKey := make(map[wire.Key]candidate)
	if len(to) >= minPrefix && strings.Trim(strings.ToLower(to), "0123456789abcdef") == "" {
		for _, c := range all {
			if strings.HasPrefix(c.key.String(), strings.ToLower(to)) {
				if _, known := byKey[c.key]; !known {
					byKey[c.key] = c
				}
			}
		}
	}
	if key, err := wire.ParseKey(to); err == nil && len(byKey) == 0 {
		return candidate{key: key, name: key.Short()}, nil
	}
	found := slices.Collect(maps.Values(byKey))
	slices.SortFunc(found, func(x, y candidate) int { return strings.Compare(x.key.String(), y.key.String()) })
	switch len(found) {
	case 0:
		return candidate{}, fmt.Errorf("nobody in this mesh is called %q; see `claudemesh peers --all`", to)
	case 1:
		return found[0], nil
	}
	return candidate{}, &ambiguousError{to, found}
}

func candidates(peers []wire.PeerRow, members []wire.MemberRow) (live, offline []candidate) {
	for i := range peers {
		live = append(live, candidate{peers[i].Pubkey, peers[i].MemberPubkey, peers[i].DisplayName})
	}
	for i := range members {
		if !members[i].Removed {
			offline = append(offline, candidate{members[i].Pubkey, members[i].Pubkey, members[i].DisplayName})
		}
	}
	return live, offline
}

// onePerMember replaces the presences of a member that has several by the member.
func onePerMember(found []candidate) []candidate {
	var out []candidate
	for _, c := range found {
		i := slices.IndexFunc(out, func(o candidate) bool { return o.member == c.member })
		switch {
		case i < 0:
			out = append(out, c)
		case out[i].key != c.key:
			out[i].key = c.member
		}
	}
	return out
}

// resolveMember is resolve among the members alone.
func resolveMember(to string, own wire.Key, members []wire.MemberRow) (candidate, error) {
	return resolve(to, own, nil, members)
}
