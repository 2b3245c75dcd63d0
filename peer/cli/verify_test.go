package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

func TestVerificationText(t *testing.T) {
	t.Parallel()
	own, bob := newKey(t), newKey(t)
	number := identity.SafetyNumber("mesh", own, bob)
	now := time.Now()
	compared := inbox.Contact{ConfirmedAt: now.AddDate(0, 0, -3)}
	for _, tc := range []struct {
		name      string
		v         verification
		confirmed bool
		want, not []string
	}{
		{"to compare", verification{name: "bob", own: "alice"}, false,
			[]string{"(alice) and bob", bob.Short(), "claudemesh verify alice`", "--confirm"}, []string{"Careful", "same.\n"}},
		{"just compared", verification{name: "bob", own: "alice", contact: compared}, true,
			[]string{"Remembered"}, []string{"--confirm", "You compared"}},
		{"compared before", verification{name: "bob", own: "alice", contact: compared}, false,
			[]string{"You compared this number with bob on " + now.AddDate(0, 0, -3).Format(time.DateOnly)}, []string{"--confirm"}},
		{"a name that was another's", verification{name: "bob", own: "alice", contact: inbox.Contact{Conflict: true}}, false,
			[]string{"Careful: another key used this name before", "--confirm"}, nil},
		{"names of several words and lines", verification{name: "bob\nalice\x1b", own: "al's laptop"}, false,
			[]string{`bob\nalice\u{1B}`, `claudemesh verify 'al'\''s laptop'`}, []string{"\x1b"}},
	} {
		tc.v.member, tc.v.number = bob, number
		text := tc.v.text(tc.confirmed)
		if got := digits(text); got != digits(number) {
			t.Errorf("%s: got safety number %s, want %s", tc.name, got, number)
		}
		for _, w := range tc.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is missing in\n%s", tc.name, w, text)
			}
		}
		for _, n := range tc.not {
			if strings.Contains(text, n) {
				t.Errorf("%s: %q is in\n%s", tc.name, n, text)
			}
		}
	}
}

// digits returns the lines of the text that are groups of five digits, as one
// line.
func digits(text string) string {
	var groups []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if strings.Trim(strings.Join(fields, ""), "0123456789") == "" {
			groups = append(groups, fields...)
		}
	}
	return strings.Join(groups, " ")
}

func TestMemberName(t *testing.T) {
	t.Parallel()
	bob, blank, other := newKey(t), newKey(t), newKey(t)
	members := []wire.MemberRow{{Pubkey: bob, DisplayName: "bob"}, {Pubkey: blank, DisplayName: " "}}
	for _, tc := range []struct {
		key           wire.Key
		session, want string
	}{
		{bob, "work", "bob"},
		{blank, "work", blank.Short()},
		{other, "work", "work"},
		{other, "", other.Short()},
	} {
		if got := memberName(members, tc.key, tc.session); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

func TestVerifyConfirms(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	store, err := inbox.Open(ctx, peer.Dir(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	contacts := store.Contacts()
	first, second := verification{name: "bob", member: newKey(t)}, verification{name: "Bob", member: newKey(t)}
	look := func(v *verification, confirm bool) inbox.Contact {
		t.Helper()
		c, err := contact(ctx, contacts, "mesh", v, confirm)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := look(&first, false); c.Confirmed() || c.Conflict || c.Name != "bob" {
		t.Errorf("first look: %+v", c)
	}
	if c := look(&second, false); c.Confirmed() || !c.Conflict {
		t.Errorf("another key under that name: %+v", c)
	}
	if c := look(&second, true); !c.Confirmed() || c.Conflict {
		t.Errorf("after the comparison: got %+v, want confirmed", c)
	}
	if c := look(&second, false); !c.Confirmed() {
		t.Errorf("the confirmation was forgotten: %+v", c)
	}
	if c := look(&first, false); c.Confirmed() {
		t.Errorf("a key that was never compared is confirmed: %+v", c)
	}
}

// TestTrustIsForPeople checks that a model that runs commands can't confirm a key.
func TestTrustIsForPeople(t *testing.T) {
	t.Setenv("CLAUDECODE", "1")
	var out strings.Builder
	code := (&app{in: strings.NewReader("yes\n"), out: &out, err: &out}).run(t.Context(), []string{"trust", "bob", "--yes"})
	if code != exitFailed || !strings.Contains(out.String(), "only a person") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}
