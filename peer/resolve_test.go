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
		{"two members of a name", "bob", wire.Key{}, 2},
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
	// A connected peer that calls itself what an absent member is called gets nothing
	// that is meant for the member.
	impostor := []wire.PeerRow{{Pubkey: bob, MemberPubkey: bob, DisplayName: "carol"}}
	var several *AmbiguousError
	if c, err := Resolve("carol", own, impostor, members, time.Now()); !errors.As(err, &several) {
		t.Errorf("an impostor: got %+v, %v", c, err)
	}
	// Two keys with one start.
	twin := alice
	twin[31] ^= 1
	if _, err := Resolve(alice.String()[:8], own, append(peers, wire.PeerRow{Pubkey: twin, MemberPubkey: twin, DisplayName: "twin"}), members, time.Now()); err == nil {
		t.Error("an ambiguous start of a key passed")
	}
}
