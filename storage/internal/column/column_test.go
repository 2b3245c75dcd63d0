package column

import (
	"database/sql"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/wire"
)

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":               "",
		"Grüße 🦊\n":      "Grüße 🦊\n",
		"a\x00b":         "a\uFFFDb",
		"\x00\x00":       "\uFFFD\uFFFD",
		"a\xffb":         "a\uFFFDb",
		"\xed\xa0\x80":   "\uFFFD", // a surrogate
		"\xc0\x80\x00":   "\uFFFD\uFFFD",
		"already \uFFFD": "already \uFFFD",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x00\xff")
	f.Fuzz(func(t *testing.T, in string) {
		got := Text(in)
		if !utf8.ValidString(got) || Text(got) != got {
			t.Errorf("Text(%q) = %q", in, got)
		}
		for _, r := range got {
			if r == 0 {
				t.Errorf("Text(%q) holds NUL", in)
			}
		}
	})
}

// scan passes a database's value to a scanner.
func scan(t *testing.T, into sql.Scanner, src any) error {
	t.Helper()
	return into.Scan(src)
}

func TestZeroIsNull(t *testing.T) {
	t.Parallel()
	if Key(wire.Key{}) != nil || Millis(time.Time{}) != nil || NullText("") != nil || Profile(nil) != nil || Stats(nil) != nil {
		t.Error("a zero value is not NULL")
	}
	id, key, at, text := wire.ID{1}, wire.Key{1}, time.Now(), "x"
	for name, into := range map[string]sql.Scanner{"id": IntoID(&id), "key": IntoKey(&key), "time": IntoTime(&at), "text": intoText(&text)} {
		if err := scan(t, into, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !id.IsZero() || !key.IsZero() || !at.IsZero() || text != "" {
		t.Errorf("NULL is read as %v, %v, %v, %q", id, key, at, text)
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	var id wire.ID
	want := wire.ID{0: 1, 15: 0xff}
	for _, src := range []any{want[:], "01000000-0000-0000-0000-0000000000ff", want.String()} {
		id = wire.ID{}
		if err := scan(t, IntoID(&id), src); err != nil || id != want {
			t.Errorf("%v is read as %v, %v", src, id, err)
		}
	}
	var at time.Time
	now := time.UnixMilli(1_900_000_000_123).UTC()
	if err := scan(t, IntoTime(&at), *Millis(now)); err != nil || at != now {
		t.Errorf("%v is read as %v, %v", now, at, err)
	}
	var key wire.Key
	bad := []struct {
		name string
		into sql.Scanner
		src  any
	}{
		{"short id", IntoID(&id), want[:15]}, {"id of letters", IntoID(&id), "zz"}, {"id of a number", IntoID(&id), int64(1)},
		{"long key", IntoKey(&key), make([]byte, 33)}, {"empty key", IntoKey(&key), []byte{}}, {"key of text", IntoKey(&key), "x"},
		{"time of text", IntoTime(&at), "x"}, {"groups that aren't JSON", intoJSON(new([]wire.Group)), "{"},
		{"groups of a number", intoJSON(new([]wire.Group)), int64(1)},
	}
	for _, test := range bad {
		if err := scan(t, test.into, test.src); err == nil {
			t.Errorf("%s was read", test.name)
		}
	}
}

func TestAttestation(t *testing.T) {
	t.Parallel()
	session, member := wire.Key{1}, wire.Key{2}
	want := &wire.Attestation{
		SessionPubkey: session.String(), ParentMemberPubkey: member.String(), ExpiresAt: 1_900_000_000_123,
		Signature: wire.Signature{3}.String(),
	}
	var got *wire.Attestation
	if err := scan(t, intoAttestation(&got, &session, &member), want.Compact()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("came back as %+v, %v", got, err)
	}
	if err := scan(t, intoAttestation(&got, &session, &member), nil); err != nil || got != nil {
		t.Errorf("NULL is read as %+v, %v", got, err)
	}
	for _, bad := range []any{want.Compact()[1:], "text", int64(1)} {
		if err := scan(t, intoAttestation(&got, &session, &member), bad); err == nil {
			t.Errorf("%v was read as %+v", bad, got)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	groups := []wire.Group{{Name: "dev", Role: "lead"}, {Name: "<ops> \u2028"}}
	var gotGroups []wire.Group
	if err := scan(t, intoJSON(&gotGroups), Groups(groups)); err != nil || !reflect.DeepEqual(gotGroups, groups) {
		t.Errorf("groups came back as %v, %v", gotGroups, err)
	}
	// An entry without capabilities blocks, no entry does not: they must not be mixed up.
	for _, grants := range []map[wire.Key][]string{{{1}: {}, {2}: {"dm", "read"}}, {{1}: {}}, nil} {
		var got map[wire.Key][]string
		if err := scan(t, intoJSON(&got), Grants(grants)); err != nil || !reflect.DeepEqual(got, grants) {
			t.Errorf("grants %v came back as %v, %v", grants, got, err)
		}
	}
	profile, got := &wire.Profile{Title: "fox"}, (*wire.Profile)(nil)
	if err := scan(t, intoProfile(&got), *Profile(profile)); err != nil || !reflect.DeepEqual(got, profile) {
		t.Errorf("profile came back as %v, %v", got, err)
	}
	empty := &wire.Profile{}
	if err := scan(t, intoProfile(&got), *Profile(empty)); err != nil || !reflect.DeepEqual(got, empty) {
		t.Errorf("an empty profile came back as %v, %v", got, err)
	}
}
