package inbox

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// names is a mesh as a broker describes it: names that lead to keys.
type names struct {
	t        *testing.T
	contacts Contacts
	own      wire.Key
	now      time.Time
	members  []wire.MemberRow
	rows     []wire.PeerRow
}

func newNames(t *testing.T) *names {
	return &names{t: t, contacts: openInbox(t, peer.Dir(t.TempDir())).Contacts(), own: newKey(t).Public(), now: time.UnixMilli(1_795_460_363_351).UTC()}
}

func (n *names) member(name string) identity.KeyPair {
	pair := newKey(n.t)
	n.members = append(n.members, wire.MemberRow{Pubkey: pair.Public(), DisplayName: name, JoinedAt: wire.Time{Time: n.now.Add(time.Duration(len(n.members)) * time.Second)}})
	return pair
}

func (n *names) rename(key wire.Key, name string) {
	for i := range n.members {
		if n.members[i].Pubkey == key {
			n.members[i].DisplayName = name
		}
	}
}

func (n *names) remove(key wire.Key) {
	for i := range n.members {
		if n.members[i].Pubkey == key {
			n.members[i].Removed = true
		}
	}
}

// session adds a session that a member attests.
func (n *names) session(of identity.KeyPair, name string) wire.Key {
	key := newKey(n.t).Public()
	n.rows = append(n.rows, wire.PeerRow{Pubkey: key, MemberPubkey: of.Public(), DisplayName: name, Attestation: attested(of, key, n.now.Add(time.Hour))})
	return key
}

func (n *names) see() {
	n.t.Helper()
	if err := n.contacts.PinMembers(n.t.Context(), "mesh", n.members, n.now); err != nil {
		n.t.Fatal(err)
	}
}

// to resolves a name and checks the result, as a sender does.
func (n *names) to(to string) (peer.Recipient, error) {
	n.t.Helper()
	n.see()
	r, err := peer.Resolve(to, n.own, n.rows, n.members, n.now)
	if err != nil {
		return r, err
	}
	return r, n.contacts.Check(n.t.Context(), "mesh", to, r, n.members)
}

func (n *names) leads(to string, want wire.Key) {
	n.t.Helper()
	if r, err := n.to(to); err != nil || r.Key != want {
		n.t.Errorf("%+q leads to %s, %v; want %s", to, r.Key.Short(), err, want.Short())
	}
}

func (n *names) refused(to string, known wire.Key) *ChangedKeyError {
	n.t.Helper()
	r, err := n.to(to)
	var changed *ChangedKeyError
	if !errors.As(err, &changed) || changed.Known != known {
		n.t.Errorf("%+q leads to %s, %v; want a refusal that names %s", to, r.Key.Short(), err, known.Short())
		return &ChangedKeyError{}
	}
	if text := err.Error(); !strings.Contains(text, known.String()[:16]) || !strings.Contains(text, changed.Found.String()[:16]) {
		n.t.Errorf("%s does not name both keys", text)
	}
	return changed
}

func (n *names) accept(to string) {
	n.t.Helper()
	n.see()
	r, err := peer.Resolve(to, n.own, n.rows, n.members, n.now)
	if err == nil {
		err = n.contacts.Accept(n.t.Context(), "mesh", r, n.members, n.now)
	}
	if err != nil {
		n.t.Fatal(err)
	}
}

// TestChangedKey removes a member and lets a stranger join under its name.
func TestChangedKey(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	bob := n.member("bob")
	n.leads("bob", bob.Public())
	n.leads("bob", bob.Public())
	n.leads(n.session(bob, "web").String(), n.rows[0].Pubkey)
	n.leads("web", n.rows[0].Pubkey)
	n.rows = nil
	n.leads("Bob", bob.Public())
	first, second := n.session(bob, "bob"), n.session(bob, "api")
	n.leads("bob", first) // a new session key of the same member
	n.leads("api", second)
	n.rows = nil

	n.remove(bob.Public())
	eve := n.member("bob")
	n.refused("bob", bob.Public())
	n.refused(eve.Public().String()[:12], bob.Public())
	n.leads(eve.Public().String(), eve.Public()) // a whole key always means that key
	n.leads(strings.ToUpper(eve.Public().String()), eve.Public())
	web := n.session(eve, "web")
	n.refused("web", bob.Public()) // it shows the name of its member
	n.leads(web.String(), web)
	n.refused("bob", bob.Public())

	n.accept("bob")
	n.leads("bob", eve.Public())
	n.leads("web", web)
	third := n.member("BOB")
	n.remove(eve.Public())
	n.rows = nil
	n.refused("bob", eve.Public())
	if err := n.contacts.Confirm(t.Context(), "mesh", third.Public(), "bob", n.now); err != nil {
		t.Fatal(err)
	}
	n.leads("bob", third.Public())
	n.remove(third.Public())
	n.member("bob")
	if e := n.refused("bob", third.Public()); !e.Confirmed || !strings.Contains(e.Error(), "compared") {
		t.Errorf("a key that was compared: %v", e)
	}
}

// TestLookalikeNames checks that a name that only looks like a member's name does
// not belong to that member, and never leads to anybody without notice.
func TestLookalikeNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"b\ufe0f", "b\u200b", "\uff42", "\U0001d41b", "b\u3164"} {
		n := newNames(t)
		b, eve := n.member("b"), n.member("eve")
		n.leads("b", b.Public())
		fake := n.session(eve, name)
		n.leads("b", b.Public())
		if e := n.refused(name, b.Public()); !e.Alike {
			t.Errorf("%+q: %v", name, e)
		}
		n.leads(fake.String(), fake)
		trust, err := n.contacts.VerifyRows(t.Context(), "mesh", n.rows, n.now)
		if err != nil || trust[0].Verified || trust[0].Doubt != doubtAlike {
			t.Errorf("%+q beside b: %+v, %v", name, trust, err)
		}
		n.rows = nil
		twin := n.member(name)
		n.leads("b", b.Public())
		n.refused(name, b.Public())
		n.accept(name)
		n.leads(name, twin.Public())
		n.leads("b", b.Public()) // a name that looks like b does not affect b
	}
	// Between sessions, whose names are not pinned.
	n := newNames(t)
	bob, eve := n.member("bob"), n.member("eve")
	n.session(bob, "frontend")
	n.session(eve, "fr\u043entend")
	n.session(bob, "backend")
	n.session(eve, "backend")
	n.see()
	trust, err := n.contacts.VerifyRows(t.Context(), "mesh", n.rows, n.now)
	if err != nil || !trust[0].Verified || trust[1].Verified || trust[1].Doubt != doubtAlike || !trust[2].Verified || !trust[3].Verified {
		t.Errorf("got %+v, %v", trust, err)
	}
}

// TestRenamedMember checks that both names of a renamed member are its own.
func TestRenamedMember(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	bob := n.member("bob")
	n.leads("bob", bob.Public())
	n.rename(bob.Public(), "robert")
	n.leads("robert", bob.Public())
	eve := n.member("bob")
	n.refused("bob", bob.Public())
	n.leads("robert", bob.Public())
	n.remove(bob.Public())
	n.rename(eve.Public(), "Robert")
	n.refused("robert", bob.Public())
	n.rename(eve.Public(), "eve")
	n.leads("eve", eve.Public())
	n.rename(eve.Public(), "bob")
	n.accept("bob")
	n.rename(eve.Public(), "eve")
	n.leads("eve", eve.Public())
}

// TestTwoMembersOfOneName checks that if two members have one name, the name means neither
// of them. Each can be reached by its key.
func TestTwoMembersOfOneName(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	first, second := n.member("bob"), n.member("bob")
	var several *peer.AmbiguousError
	if _, err := n.to("bob"); !errors.As(err, &several) {
		t.Errorf("got %v", err)
	}
	n.leads(first.Public().String()[:16], first.Public())
	n.refused(second.Public().String()[:16], first.Public())
	n.accept(second.Public().String()[:16])
	n.leads(second.Public().String()[:16], second.Public())
	n.accept(first.Public().String()[:16])
	n.leads(first.Public().String()[:16], first.Public())
	n.leads(second.Public().String()[:16], second.Public())
}

// TestSubstitutedKeys checks a dishonest broker that puts its own keys under names.
func TestSubstitutedKeys(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	bob := n.member("bob")
	n.session(bob, "web")
	n.leads("web", n.rows[0].Pubkey)
	own := newKey(t)
	forged := attested(own, newKey(t).Public(), n.now.Add(time.Hour))
	forged.ParentMemberPubkey = bob.Public().String()
	for name, row := range map[string]wire.PeerRow{
		"no attestation":                  {Pubkey: own.Public(), MemberPubkey: bob.Public(), DisplayName: "web"},
		"attestation of another key":      {Pubkey: own.Public(), MemberPubkey: bob.Public(), DisplayName: "web", Attestation: n.rows[0].Attestation},
		"attestation by another member":   {Pubkey: own.Public(), MemberPubkey: bob.Public(), DisplayName: "web", Attestation: attested(own, own.Public(), n.now.Add(time.Hour))},
		"forged attestation":              {Pubkey: mustKey(t, forged.SessionPubkey), MemberPubkey: bob.Public(), DisplayName: "web", Attestation: forged},
		"bob's name, without attestation": {Pubkey: own.Public(), DisplayName: "Bob"},
	} {
		m := *n
		m.rows = []wire.PeerRow{row}
		to := row.DisplayName
		if to == "Bob" {
			m.members = nil // the broker hides the member
		}
		r, err := peer.Resolve(to, m.own, m.rows, m.members, m.now)
		if err != nil {
			t.Fatal(name, err)
		}
		var changed *ChangedKeyError
		if err := m.contacts.Check(t.Context(), "mesh", to, r, m.members); !errors.As(err, &changed) || !changed.Unproven || changed.Known != bob.Public() {
			t.Errorf("%s: %v", name, err)
		}
		if err := m.contacts.Accept(t.Context(), "mesh", r, m.members, m.now); err == nil {
			t.Errorf("%s: a key without a valid attestation was trusted", name)
		}
	}
	// The broker also puts its key into the list of members, and into rows of that member.
	n.rows, n.members = nil, nil
	eve := n.member("bob")
	n.refused("bob", bob.Public())
	n.session(eve, "web")
	n.refused("web", bob.Public())
	// The attestation of a session that has been connected for long has expired, but it still
	// proves the member.
	old := newKey(t).Public()
	n.rows, n.members = []wire.PeerRow{{Pubkey: old, MemberPubkey: bob.Public(), DisplayName: "bob", Attestation: attested(bob, old, n.now.Add(-time.Hour))}}, nil
	n.leads("bob", old)
}

func mustKey(t *testing.T, text string) wire.Key {
	t.Helper()
	key, err := wire.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestRaceForAName checks that if many processes ask at once, they all agree on the holder
// of a name.
func TestRaceForAName(t *testing.T) {
	t.Parallel()
	dir := peer.Dir(t.TempDir())
	n := newNames(t)
	n.member("bob")
	n.member("bob")
	var wait sync.WaitGroup
	held := make([]wire.Key, 8)
	for i := range held {
		b := openInbox(t, dir)
		wait.Go(func() {
			list := n.members[i%2 : i%2+1]
			if err := b.Contacts().PinMembers(t.Context(), "mesh", list, n.now); err != nil {
				t.Error(err)
			}
			h, _, err := holderOf(t.Context(), b.db, "mesh", wire.Key{}, "bob")
			if err != nil || h == nil {
				t.Error(h, err)
				return
			}
			held[i] = h.member
		})
	}
	wait.Wait()
	for _, key := range held {
		if key != held[0] {
			t.Errorf("the name is %s's and %s's", key.Short(), held[0].Short())
		}
	}
}

// TestNameLikeAKey checks that a key, or the start of one, is never found by a name that
// looks like it.
func TestNameLikeAKey(t *testing.T) {
	t.Parallel()
	n := newNames(t)
	bob := n.member("bob")
	n.member(bob.Public().String())
	n.member(bob.Public().String()[:16])
	n.leads(bob.Public().String(), bob.Public())
	n.leads(bob.Public().String()[:16], bob.Public())
	n.member("deadbeef")
	var nobody *peer.NobodyError
	if to, err := n.to("deadbeef"); !errors.As(err, &nobody) {
		t.Errorf("deadbeef leads to %s, %v", to.Key.Short(), err)
	}
}
