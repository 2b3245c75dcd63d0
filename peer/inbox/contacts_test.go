package inbox

import (
	"errors"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/visible/alike"
	"github.com/claudemesh/claudemesh/wire"
)

func TestContacts(t *testing.T) {
	t.Parallel()
	c := openInbox(t, peer.Dir(t.TempDir())).Contacts()
	now := time.UnixMilli(1_795_460_363_351).UTC()
	bob, eve, third := newKey(t).Public(), newKey(t).Public(), newKey(t).Public()
	pin := func(step, mesh string, member wire.Key, name, wantName string, with wire.Key) {
		t.Helper()
		got, err := c.Pin(t.Context(), mesh, member, name, now)
		if err != nil || got.Member != member || got.Name != wantName || got.Conflict != !with.IsZero() || got.With != with || (got.Doubt() != "") != (got.Conflict || alike.Mistaken(name) != "") {
			t.Errorf("%s: got %+v, %v", step, got, err)
		}
	}
	confirm := func(member wire.Key, at time.Time) {
		t.Helper()
		if err := c.Confirm(t.Context(), "mesh", member, "Bob", at); err != nil {
			t.Fatal(err)
		}
	}
	nobody := wire.Key{}
	pin("first", "mesh", bob, "Bob", "Bob", nobody)
	pin("again", "mesh", bob, "bob", "Bob", nobody)
	pin("another name", "mesh", bob, "bob's laptop", "Bob", nobody)
	pin("a second of the name", "mesh", eve, "bOB", "bOB", bob)
	pin("that looks like it", "mesh", third, " b\u200bob\u202e\n", " b\u200bob\u202e\n", bob)
	pin("in another mesh", "other", eve, "Bob", "Bob", nobody)
	pin("the second under its own name", "mesh", eve, "eve", "bOB", nobody)
	pin("no name", "mesh", newKey(t).Public(), "\u200b", "", nobody)
	pin("the first still", "mesh", bob, "Bob", "Bob", nobody)

	confirm(eve, now) // the user compared the second key: it is the real Bob's
	pin("the second, confirmed", "mesh", eve, "Bob", "bOB", nobody)
	pin("the first, not confirmed", "mesh", bob, "Bob", "Bob", eve)
	confirm(bob, now) // there are two Bobs
	pin("the first, confirmed", "mesh", bob, "Bob", "Bob", nobody)
	pin("a name of another's for a confirmed key", "mesh", newKey(t).Public(), "carol", "carol", nobody)
	if got, err := c.Pin(t.Context(), "mesh", bob, "Carol", now); err != nil || !got.Conflict {
		t.Errorf("a confirmed key took another's name: %+v, %v", got, err)
	}
	confirm(eve, time.Time{})
	pin("the second, no longer confirmed", "mesh", eve, "Bob", "bOB", bob)

	if got, known, err := c.Get(t.Context(), "mesh", bob); err != nil || !known || got.Name != "Bob" || !got.Confirmed() || !got.ConfirmedAt.Equal(now) {
		t.Errorf("got %+v, %v, %v", got, known, err)
	}
	if name, err := c.Name(t.Context(), "mesh", newKey(t).Public()); err != nil || name != "" {
		t.Errorf("got %q, %v", name, err)
	}
	if err := c.Confirm(t.Context(), "mesh", newKey(t).Public(), "x", now); !errors.Is(err, errNoContact) {
		t.Errorf("got %v", err)
	}
}

// TestTrustInAnyCase checks that Trust takes a name from the member that had it, whether in upper or
// lower case.
func TestTrustInAnyCase(t *testing.T) {
	t.Parallel()
	for _, names := range [][2]string{{"Bob", "bob"}, {"\u00c4gnes", "\u00e4gnes"}} {
		c := openInbox(t, peer.Dir(t.TempDir())).Contacts()
		now, first, second := time.Now(), newKey(t).Public(), newKey(t).Public()
		for i, member := range []wire.Key{first, second} {
			if _, err := c.Pin(t.Context(), "mesh", member, names[i], now); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Trust(t.Context(), "mesh", second, now, names[1]); err != nil {
			t.Fatal(err)
		}
		for member, want := range map[wire.Key]string{first: "", second: names[1]} {
			if got, err := c.Name(t.Context(), "mesh", member); err != nil || got != want {
				t.Errorf("%s is now %s: got %q, %v; want %q", names[0], names[1], got, err, want)
			}
		}
	}
}

// TestContactsOfTheRoster checks that the members' own names take precedence over the names
// of their sessions.
func TestContactsOfTheRoster(t *testing.T) {
	t.Parallel()
	b := openInbox(t, peer.Dir(t.TempDir()))
	c := b.Contacts()
	now := time.Now()
	bob, eve, session := newKey(t), newKey(t), newKey(t).Public()
	members := []wire.MemberRow{{Pubkey: bob.Public(), DisplayName: "bob"}, {Pubkey: newKey(t).Public(), DisplayName: "eve", Removed: true}}
	if err := c.PinMembers(t.Context(), "mesh", members, now); err != nil {
		t.Fatal(err)
	}
	rows := []wire.PeerRow{
		{Pubkey: session, MemberPubkey: bob.Public(), DisplayName: "frontend", Attestation: attested(bob, session, now.Add(time.Hour))},
		{Pubkey: newKey(t).Public(), MemberPubkey: bob.Public(), DisplayName: "frontend"},
		{Pubkey: eve.Public(), MemberPubkey: eve.Public(), DisplayName: "eve"},
		{Pubkey: eve.Public(), MemberPubkey: eve.Public(), DisplayName: "Bob"},
	}
	got, err := c.VerifyRows(t.Context(), "mesh", rows, now)
	if err != nil || len(got) != len(rows) {
		t.Fatal(got, err)
	}
	for i, want := range []RowTrust{{true, "", "bob", false}, {false, "no member vouches for the key", "", false}, {true, "", "eve", false}, {false, "another key used this name before", "eve", false}} {
		if got[i] != want {
			t.Errorf("row %d: got %+v, want %+v", i, got[i], want)
		}
	}

	// Whether a key was compared does not depend on whether it is proven.
	if err := c.Confirm(t.Context(), "mesh", bob.Public(), "bob", now); err != nil {
		t.Fatal(err)
	}
	if got, err = c.VerifyRows(t.Context(), "mesh", rows, now); err != nil || !got[0].Compared || got[1].Compared || got[2].Compared || got[3].Compared {
		t.Errorf("compared: %+v, %v", got, err)
	}

	// The inbox compares names by itself.
	for _, tc := range []struct {
		id, name string
		verified bool
		want     bool
	}{{"m1", "eve", true, true}, {"m2", "bob", true, false}, {"m3", "eve", false, false}} {
		m := peer.Incoming{MessageID: tc.id, Sender: eve.Public(), Member: eve.Public(), Name: tc.name, Verified: tc.verified, CreatedAt: now}
		if !tc.verified {
			m.Doubt = "because"
		}
		if _, err := b.Add(t.Context(), Mailbox{MeshID: "mesh"}, &m, now); err != nil {
			t.Fatal(err)
		}
	}
	list, err := b.List(t.Context(), "mesh", ListOptions{})
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	for i, want := range []string{"", "another key used this name before", "because"} {
		if list[i].Verified != (want == "") || list[i].Doubt != want {
			t.Errorf("message %d: %v, %q", i, list[i].Verified, list[i].Doubt)
		}
	}
}
