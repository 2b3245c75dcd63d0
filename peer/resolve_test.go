package peer

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	alice, bob, bob2, carol := newKey(t).Public(), newKey(t).Public(), newKey(t).Public(), newKey(t).Public()
	session1, session2, own := newKey(t).Public(), newKey(t).Public(), newKey(t).Public()
	peers := []wire.PeerRow{
		{Pubkey: alice, MemberPubkey: alice, DisplayName: "Alice"},
		{Pubkey: session1, MemberPubkey: carol, DisplayName: "work"},
		{Pubkey: session2, MemberPubkey: carol, DisplayName: "work"},
		{Pubkey: session1, MemberPubkey: carol, DisplayName: "solo"},
		{Pubkey: bob, MemberPubkey: bob, DisplayName: "bob"},
		{Pubkey: bob2, MemberPubkey: bob2, DisplayName: "BOB"},
		{Pubkey: own, MemberPubkey: own, DisplayName: "alice"},
		{Pubkey: own, MemberPubkey: own, DisplayName: "me"},
	}
	members := []wire.MemberRow{
		{Pubkey: carol, DisplayName: "carol"},
		{Pubkey: newKey(t).Public(), DisplayName: "gone", Removed: true},
		{Pubkey: own, DisplayName: "myself"},
		{Pubkey: bob2, DisplayName: "second"},
	}
	stranger := newKey(t).Public()
	for _, tc := range []struct {
		name, to  string
		want      wire.Key
		ambiguous int
	}{
		{"name", "Alice", alice, 0},
		{"name in another case, not my own presence", "ALICE", alice, 0},
		{"own presence if nobody else is meant", "me", own, 0},
		{"one session", "solo", session1, 0},
		{"several sessions of a member", "work", carol, 0},
		{"member who is away", "Carol", carol, 0},
		{"exact name", "bob", bob, 0},
		{"two members of a name", "Bob", wire.Key{}, 2},
		{"whole key", alice.String(), alice, 0},
		{"whole key of a session", session2.String(), session2, 0},
		{"unknown key", stranger.String(), stranger, 0},
		{"start of a key", session2.String()[:8], session2, 0},
		{"start in upper case", strings.ToUpper(alice.String()[:12]), alice, 0},
		{"too short a start", alice.String()[:7], wire.Key{}, 0},
		{"removed member", "gone", wire.Key{}, 0},
		{"nobody", "dave", wire.Key{}, 0},
		{"empty", "", wire.Key{}, 0},
	} {
		c, err := Resolve(tc.to, own, peers, members, time.Now())
		var several *AmbiguousError
		switch {
		case tc.ambiguous > 0:
			if !errors.As(err, &several) || len(several.Found) != tc.ambiguous || !strings.Contains(err.Error(), bob.String()[:16]) {
				t.Errorf("%s: got %v", tc.name, err)
			}
		case tc.want.IsZero():
			if err == nil || errors.As(err, &several) {
				t.Errorf("%s: got %+v, %v", tc.name, c, err)
			}
		case err != nil || c.Key != tc.want:
			t.Errorf("%s: got %+v, %v", tc.name, c, err)
		}
	}
	// A connected peer with the name of an absent member gets no message for the member.
	impostor := []wire.PeerRow{{Pubkey: bob, MemberPubkey: bob, DisplayName: "carol"}}
	var several *AmbiguousError
	if c, err := Resolve("carol", own, impostor, members, time.Now()); !errors.As(err, &several) {
		t.Errorf("an impostor: got %+v, %v", c, err)
	}
	// Two keys with one start.
	twin := alice
	twin[31] ^= 1
	if _, err := Resolve(alice.String()[:8], own, append(peers, wire.PeerRow{Pubkey: twin, MemberPubkey: twin, DisplayName: "twin"}), members, time.Now()); err == nil {
		t.Error("an ambiguous start of a key was resolved")
	}
}

// TestResolveImpostors checks that a peer whose name looks like a key, a group or nothing
// is never found by that name.
func TestResolveImpostors(t *testing.T) {
	t.Parallel()
	own, bob, mallory, zoe := newKey(t).Public(), newKey(t).Public(), newKey(t).Public(), newKey(t).Public()
	bobID := wire.ID{1, 2, 3}
	resolve := func(to string, names ...string) (Recipient, error) {
		peers := []wire.PeerRow{{Pubkey: zoe, MemberPubkey: zoe, DisplayName: "ZOE"}, {Pubkey: own, MemberPubkey: own, DisplayName: "me"}}
		members := []wire.MemberRow{{ID: bobID, Pubkey: bob, DisplayName: "bob"}}
		for _, name := range names {
			peers = append(peers, wire.PeerRow{Pubkey: mallory, MemberPubkey: mallory, DisplayName: name})
			members = append(members, wire.MemberRow{ID: wire.ID{9}, Pubkey: mallory, DisplayName: name})
		}
		return Resolve(to, own, peers, members, time.Now())
	}
	text := bob.String()
	for _, to := range []string{text, strings.ToUpper(text), bobID.String()} {
		if c, err := resolve(to, to); err != nil || c.Key != bob {
			t.Errorf("%q beside a peer with this name: got %+v, %v", to, c, err)
		}
	}
	// A whole key never means a peer that only has that key as its name.
	stranger := newKey(t).Public()
	if c, err := resolve(stranger.String(), stranger.String()); err != nil || c.Key != stranger {
		t.Errorf("an unknown key: got %+v, %v", c, err)
	}
	for _, to := range []string{text[:8], text[:16], text[:40]} {
		if strings.Trim(to, "0123456789") == "" {
			continue // a name like any other
		}
		for _, names := range [][]string{nil, {to}, {strings.ToUpper(to)}} {
			if c, err := resolve(to, names...); err != nil || c.Key != bob {
				t.Errorf("the start %q beside a peer with the name %q: got %+v, %v", to, names, c, err)
			}
		}
	}
	var nobody *NobodyError
	for _, name := range []string{"", " ", "\u200b", "deadbeef", "deadbeefdeadbeef", "@all", "*", "#x", "1234567890123456"} {
		if c, err := resolve(name, name); !errors.As(err, &nobody) {
			t.Errorf("%q was found by that name: got %+v, %v; want NobodyError", name, c, err)
		}
	}
	// The exact name goes before the same in another case.
	if c, err := resolve("ZOE", "zoe"); err != nil || c.Key != zoe {
		t.Errorf("ZOE beside zoe: got %+v, %v", c, err)
	}
	var several *AmbiguousError
	c, err := resolve("Zoe", "zoe")
	if !errors.As(err, &several) {
		t.Fatalf("Zoe beside zoe and ZOE: got %+v, %v", c, err)
	}
	var picked []wire.Key
	several.Choices(func(pick string) string {
		c, err := resolve(pick, "zoe")
		if err != nil {
			t.Errorf("the choice %q: %v", pick, err)
		}
		picked = append(picked, c.Key)
		return pick
	})
	if len(picked) != 2 || picked[0] != several.Found[0].Key || picked[1] != several.Found[1].Key {
		t.Errorf("the choices of Zoe lead to %v: %v", picked, err)
	}
}

// TestResolveWithoutMembers checks peers of a broker that does not say which member a peer
// belongs to: two peers of one name are two recipients.
func TestResolveWithoutMembers(t *testing.T) {
	t.Parallel()
	one, two := newKey(t).Public(), newKey(t).Public()
	peers := []wire.PeerRow{{Pubkey: one, DisplayName: "bob"}, {Pubkey: one, DisplayName: "bob"}}
	if c, err := Resolve("bob", newKey(t).Public(), peers, nil, time.Now()); err != nil || c.Key != one || c.Verified {
		t.Errorf("one peer: got %+v, %v", c, err)
	}
	var several *AmbiguousError
	peers = append(peers, wire.PeerRow{Pubkey: two, DisplayName: "bob"})
	if c, err := Resolve("bob", newKey(t).Public(), peers, nil, time.Now()); !errors.As(err, &several) || len(several.Found) != 2 {
		t.Errorf("two peers: got %+v, %v", c, err)
	}
}
