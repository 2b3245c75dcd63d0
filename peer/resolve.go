package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

// minPrefix is the shortest start of a key that stands for it.
const minPrefix = 8

// Recipient is somebody whom a name or a key means. Name comes from others and may
// hold anything.
type Recipient struct {
	Key    wire.Key // to send to
	Member wire.Key // zero when unknown
	Name   string
	// Verified and Doubt are VerifyRow's: without it, what is sealed for Key may be
	// read by somebody else than Member.
	Verified bool
	Doubt    string
	// Proven is the member that vouches for Key, or did before its word expired; zero
	// when none does.
	Proven wire.Key
}

// AmbiguousError tells that a name may mean several.
type AmbiguousError struct {
	Name  string
	Found []Recipient
	picks []string // what means each of Found
}

func newAmbiguousError(name string, found, all []Recipient) *AmbiguousError {
	e := &AmbiguousError{Name: name, Found: found}
	for _, c := range found {
		pick := c.Key.String()[:16]
		if slices.ContainsFunc(startingWith(pick, all), func(o Recipient) bool { return o.Key != c.Key }) {
			pick = c.Key.String()
		}
		e.picks = append(e.picks, pick)
	}
	return e
}

func (e *AmbiguousError) Error() string { return e.Choices(func(pick string) string { return pick }) }

// Choices is Error with what command makes of each key, or start of one, that picks a
// candidate.
func (e *AmbiguousError) Choices(command func(pick string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q may be any of these; use the key, or the start of it:", e.Name)
	for i, c := range e.Found {
		fmt.Fprintf(&b, "\n  %s  %s", command(e.picks[i]), visible.Line(c.Name, visible.People))
		if alike.Mistaken(c.Name) != "" {
			fmt.Fprintf(&b, " (%s)", DoubtNoName)
		}
	}
	return b.String()
}

// NobodyError tells that nobody is known by a name.
type NobodyError struct {
	Name  string
	Meant string // what may have been meant, "" for no idea; from others
}

func (e *NobodyError) Error() string {
	return fmt.Sprintf("no member or session in this mesh is called %q; %srun `claudemesh peers --all` to see everybody", e.Name, DidYouMean(e.Meant))
}

// IsGroupTarget reports whether to is no single recipient: @group, @all, * or
// #topic. Such a text is for wire.ParseTarget, any other for Resolve.
func IsGroupTarget(to string) bool {
	return to == "*" || strings.HasPrefix(to, "@") || strings.HasPrefix(to, "#")
}

// Roster asks the broker who is there and who the members are. A broker of others
// may not tell the latter.
func (c *Client) Roster(ctx context.Context) (peers []wire.PeerRow, members []wire.MemberRow, err error) {
	if peers, err = c.ListPeers(ctx); err != nil {
		return nil, nil, err
	}
	members, err = c.ListMembers(ctx)
	var request *RequestError
	if err != nil && !errors.As(err, &request) {
		return nil, nil, err
	}
	return peers, members, nil
}

// Resolve asks the broker who is there and finds whom a name or key means; see the
// function Resolve.
func (c *Client) Resolve(ctx context.Context, to string) (Recipient, error) {
	peers, members, err := c.Roster(ctx)
	if err != nil {
		return Recipient{}, err
	}
	return Resolve(to, c.o.Mesh.Member.Public(), peers, members, time.Now())
}

// Resolve finds whom a text means among the peers that are connected and the members, in
// this order: a whole key or a member's id, which always mean that key and that member; a
// display name, exactly so; the name in any case; the start of a key, minPrefix digits or
// more, that is nobody's name. A name that may be taken for a key, a group or nothing
// (alike.Mistaken) is nobody's: clients of protocol v1 can bring one.
//
// A connected peer goes before its own member; but a name that belongs to two members is
// nobody's: whoever connects may call itself anything, and must not get what is meant for
// another. Several presences of one member under one name are that member: the broker
// picks one that can open the message. One's own presences count only if nobody else is
// meant. It fails with a *NobodyError or an *AmbiguousError.
func Resolve(to string, own wire.Key, peers []wire.PeerRow, members []wire.MemberRow, now time.Time) (Recipient, error) {
	found, err := find(to, own, peers, members, now)
	var nobody *NobodyError
	if errors.As(err, &nobody) {
		nobody.Meant = Meant(to, peers, members)
	}
	return found, err
}

func find(to string, own wire.Key, peers []wire.PeerRow, members []wire.MemberRow, now time.Time) (Recipient, error) {
	live, offline := candidates(peers, members, now)
	all := append(slices.Clone(live), offline...)
	if key, err := wire.ParseKey(strings.ToLower(to)); err == nil {
		return byKey(key, all), nil
	}
	if id, err := wire.ParseID(to); err == nil {
		for i := range members {
			if m := &members[i]; m.ID == id && !m.Removed {
				return byKey(m.Pubkey, offline), nil
			}
		}
	}
	for _, same := range []func(a, b string) bool{equal, strings.EqualFold} {
		if found := named(to, own, live, offline, same); len(found) > 0 {
			return only(to, found, all)
		}
	}
	if !IsKeyStart(to) {
		return Recipient{}, &NobodyError{Name: to}
	}
	return only(to, startingWith(to, all), all)
}

func equal(a, b string) bool { return a == b }

// only returns what was found if that is one.
func only(to string, found, all []Recipient) (Recipient, error) {
	switch len(found) {
	case 0:
		return Recipient{}, &NobodyError{Name: to}
	case 1:
		return found[0], nil
	}
	return Recipient{}, newAmbiguousError(to, found, all)
}

// named returns whom a name may mean, one for each member.
func named(to string, own wire.Key, live, offline []Recipient, same func(a, b string) bool) []Recipient {
	if alike.Mistaken(to) != "" {
		return nil
	}
	bearers := func(list []Recipient) []Recipient {
		return onePerMember(slices.DeleteFunc(slices.Clone(list), func(c Recipient) bool { return !same(c.Name, to) }))
	}
	found := bearers(live)
	for _, c := range bearers(offline) {
		if !slices.ContainsFunc(found, func(f Recipient) bool { return f.Member == c.Member }) {
			found = append(found, c)
		}
	}
	if others := slices.DeleteFunc(slices.Clone(found), func(c Recipient) bool { return c.Member == own }); len(others) > 0 {
		found = others
	}
	return found
}

// IsKeyStart reports whether a text may be the start of a key.
func IsKeyStart(to string) bool {
	return len(to) >= minPrefix && strings.Trim(strings.ToLower(to), "0123456789abcdef") == ""
}

// ResolveMember is Resolve among the members alone.
func ResolveMember(to string, own wire.Key, members []wire.MemberRow) (Recipient, error) {
	return Resolve(to, own, nil, members, time.Time{})
}

// byKey returns whose a key is. It need not be known here: that is for the broker to
// judge.
func byKey(key wire.Key, all []Recipient) Recipient {
	for _, c := range all {
		if c.Key == key {
			return c
		}
	}
	return Recipient{Key: key, Name: key.Short(), Doubt: doubtUnknownKey}
}

// startingWith returns whose keys begin so.
func startingWith(to string, all []Recipient) (found []Recipient) {
	seen := make(map[wire.Key]bool)
	for _, c := range all {
		if !seen[c.Key] && strings.HasPrefix(c.Key.String(), strings.ToLower(to)) {
			seen[c.Key] = true
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(x, y Recipient) int { return strings.Compare(x.Key.String(), y.Key.String()) })
	return found
}

func candidates(peers []wire.PeerRow, members []wire.MemberRow, now time.Time) (live, offline []Recipient) {
	for i := range peers {
		r := Recipient{Key: peers[i].Pubkey, Member: peers[i].MemberPubkey, Name: peers[i].DisplayName}
		r.Verified, r.Doubt = VerifyRow(&peers[i], now)
		r.Proven = proven(&peers[i], now)
		live = append(live, r)
	}
	for i := range members {
		if m := &members[i]; !m.Removed {
			offline = append(offline, Recipient{Key: m.Pubkey, Member: m.Pubkey, Name: m.DisplayName, Verified: true, Proven: m.Pubkey})
		}
	}
	return live, offline
}

// onePerMember replaces the presences of a member that has several by the member.
func onePerMember(found []Recipient) []Recipient {
	var out []Recipient
	for _, c := range found {
		i := slices.IndexFunc(out, func(o Recipient) bool { return o.Member == c.Member })
		switch {
		case i < 0:
			out = append(out, c)
		case out[i].Key != c.Key:
			out[i].Key, out[i].Proven, out[i].Verified, out[i].Doubt = c.Member, c.Member, true, ""
		}
	}
	return out
}
