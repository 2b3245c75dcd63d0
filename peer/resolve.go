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

// minPrefix is the shortest start of a key that identifies it.
const minPrefix = 8

// Recipient is the result of resolving a name or a key. Name comes from others and may
// hold anything.
type Recipient struct {
	Key    wire.Key // to send to
	Member wire.Key // zero when unknown
	Name   string
	// Verified and Doubt are the results of VerifyRow. If Verified is false, somebody else
	// than Member may be able to read what is sealed for Key.
	Verified bool
	Doubt    string
	// Proven is the member that attests Key, or did so until the attestation expired. It
	// is zero if there is none.
	Proven wire.Key
}

// AmbiguousError reports that a name matches several recipients.
type AmbiguousError struct {
	Name  string
	Found []Recipient
	picks []string // for each of Found, a text that identifies it
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

// Choices is Error with commands instead of keys: command turns each key, or start of a
// key, into a command.
func (e *AmbiguousError) Choices(command func(pick string) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q may be any of these; use the key or its start:", e.Name)
	for i, c := range e.Found {
		fmt.Fprintf(&b, "\n  %s  %s", command(e.picks[i]), visible.Line(c.Name, visible.People))
		if alike.Mistaken(c.Name) != "" {
			fmt.Fprintf(&b, " (%s)", DoubtNoName)
		}
	}
	return b.String()
}

// NobodyError reports that a name matches nobody.
type NobodyError struct {
	Name  string
	Meant string // the name that the user may have meant, or ""; it comes from others
}

func (e *NobodyError) Error() string {
	return fmt.Sprintf("no member or session in this mesh is called %q; %srun `claudemesh peers --all` to see everybody", e.Name, DidYouMean(e.Meant))
}

// IsGroupTarget reports whether to names a group rather than a single recipient: @group,
// @all, * or #topic. Pass such a text to wire.ParseTarget and any other text to Resolve.
func IsGroupTarget(to string) bool {
	return to == "*" || strings.HasPrefix(to, "@") || strings.HasPrefix(to, "#")
}

// Roster asks the broker for the peers and the members. Brokers of other implementations
// may not list the members.
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

// Resolve asks the broker for the roster and resolves a name or key; see the function
// Resolve.
func (c *Client) Resolve(ctx context.Context, to string) (Recipient, error) {
	peers, members, err := c.Roster(ctx)
	if err != nil {
		return Recipient{}, err
	}
	return Resolve(to, c.o.Mesh.Member.Public(), peers, members, time.Now())
}

// Resolve finds the recipient that a text means among the connected peers and the members.
// It tries, in this order: a whole key or a member's id, which always mean that key or
// member; a display name, exactly; the name in any case; the start of a key with minPrefix
// digits or more, if nobody has it as a name. Resolve ignores a name that people could
// mistake for a key, a group or nothing (alike.Mistaken); clients of protocol v1 can bring
// one.
//
// A connected peer takes precedence over its own member. A name that belongs to two
// members is ambiguous: a peer may call itself anything when it connects, and must not get
// messages that are meant for another. Several presences of one member under one name mean
// that member; the broker picks a presence that can open the message. One's own presences
// count only if nothing else matches. Resolve fails with a *NobodyError or an
// *AmbiguousError.
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
	if key, ok := WholeKey(to); ok {
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

// only returns the found recipient if there is exactly one.
func only(to string, found, all []Recipient) (Recipient, error) {
	switch len(found) {
	case 0:
		return Recipient{}, &NobodyError{Name: to}
	case 1:
		return found[0], nil
	}
	return Recipient{}, newAmbiguousError(to, found, all)
}

// named returns the recipients that a name may mean, one for each member.
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

// WholeKey returns the key that a text is, in lower or upper case.
func WholeKey(to string) (wire.Key, bool) {
	key, err := wire.ParseKey(strings.ToLower(to))
	return key, err == nil
}

// IsKeyStart reports whether a text may be the start of a key.
func IsKeyStart(to string) bool {
	return len(to) >= minPrefix && strings.Trim(strings.ToLower(to), "0123456789abcdef") == ""
}

// ResolveMember is Resolve among the members only.
func ResolveMember(to string, own wire.Key, members []wire.MemberRow) (Recipient, error) {
	return Resolve(to, own, nil, members, time.Time{})
}

// byKey returns the recipient with a key. The key may be unknown here; the broker decides
// then.
func byKey(key wire.Key, all []Recipient) Recipient {
	for _, c := range all {
		if c.Key == key {
			return c
		}
	}
	return Recipient{Key: key, Name: key.Short(), Doubt: doubtUnknownKey}
}

// startingWith returns the recipients whose keys begin with to.
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

// onePerMember replaces several presences of a member by the member. Presences without a
// member may belong to different people.
func onePerMember(found []Recipient) []Recipient {
	var out []Recipient
	for _, c := range found {
		i := slices.IndexFunc(out, func(o Recipient) bool {
			return o.Key == c.Key || o.Member == c.Member && !c.Member.IsZero()
		})
		switch {
		case i < 0:
			out = append(out, c)
		case out[i].Key != c.Key:
			out[i].Key, out[i].Proven, out[i].Verified, out[i].Doubt = c.Member, c.Member, true, ""
		}
	}
	return out
}
