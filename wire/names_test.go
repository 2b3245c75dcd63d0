package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// unseen are characters that a name must not hold.
var unseen = []rune{0, '\t', '\n', 0x1b, 0x7f, 0x80, 0x85, 0x9b, 0x9f, 0xad, 0x61c, 0x180e, 0x200b, 0x200e, 0x200f, 0x2028, 0x2029,
	0x202a, 0x202e, 0x2060, 0x2066, 0x2069, 0xfeff, 0xfff9, 0xe0001}

func TestValidGroup(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"ops": true, "a/b": true, "größe": true, "運用": true, "🚀": true, "a.b-c_d": true, "नमस्ते": true,
		"": false, "a b": false, "a,b": false, "@a": false, "#a": false, "/a": false, "a/": false, "a//b": false, "a\xffb": false,
		"a\u00a0b": false, "a\u3000b": false, "a\u200db": false, "a\ufe0f": false, "a\u3164b": false, "a\u2800b": false,
		"a\U000e0061": false, "a\ue000": false, "a\ufdd0": false, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false,
	} {
		if got := ValidGroup(name); got != want {
			t.Errorf("%q: got %t, want %t", name, got, want)
		}
	}
	for _, r := range unseen {
		if ValidGroup("a" + string(r) + "b") {
			t.Errorf("a group's name with %U was accepted", r)
		}
	}
}

func TestValidName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "Ada Lovelace", "👩‍💻", "می‌خواهم", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "❤️", "\u0600"} {
		if !ValidName(name) || CleanName(name) != name {
			t.Errorf("the name %q was refused or changed", name)
		}
	}
	for _, r := range unseen {
		name := "a" + string(r) + "b"
		if ValidName(name) || CleanName(name) != "ab" {
			t.Errorf("a name with %U was accepted or cleaned wrongly", r)
		}
	}
	long := strings.Repeat("ä", 65)
	if ValidName(long) || CleanName(long) != long[:128] || CleanName("x"+long) != "x"+long[:126] {
		t.Error("a name that is too long was accepted or cut wrongly")
	}
}

// TestNamesInFrames checks that the Decode functions check every name that a client can
// send.
func TestNamesInFrames(t *testing.T) {
	t.Parallel()
	hello := `"meshId":"m","memberId":"m","pubkey":"k","sessionId":"s","pid":1,"cwd":"/","timestamp":1,"signature":"s"`
	decodeHello := func(f *Frame) error { return DecodeHello(f).Malformed }
	for frame, decode := range map[string]func(*Frame) error{
		`{"type":"hello",` + hello + `,"displayName":%s}`:                            decodeHello,
		`{"type":"hello",` + hello + `,"hostname":%s}`:                               decodeHello,
		`{"type":"hello",` + hello + `,"peerType":%s}`:                               decodeHello,
		`{"type":"hello",` + hello + `,"channel":%s}`:                                decodeHello,
		`{"type":"hello",` + hello + `,"model":%s}`:                                  decodeHello,
		`{"type":"hello",` + hello + `,"groups":[{"name":%s}]}`:                      decodeHello,
		`{"type":"hello",` + hello + `,"groups":[{"name":"a","role":%s}]}`:           decodeHello,
		`{"type":"set_profile","title":%s}`:                                          func(f *Frame) error { _, err := DecodeSetProfile(f); return err },
		`{"type":"join_group","name":%s}`:                                            func(f *Frame) error { _, err := DecodeJoinGroup(f); return err },
		`{"type":"join_group","name":"a","role":%s}`:                                 func(f *Frame) error { _, err := DecodeJoinGroup(f); return err },
		`{"type":"invite_create","role":"member","groups":[{"name":"a","role":%s}]}`: func(f *Frame) error { _, err := DecodeInviteCreate(f); return err },
	} {
		for name, valid := range map[string]bool{"fine": true, "a\u0085b": false, "a\u202eb": false, "a\nb": false} {
			text, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			f, err := ParseFrame(fmt.Appendf(nil, frame, text))
			if err != nil {
				t.Fatal(err)
			}
			if err := decode(&f); (err == nil) != valid {
				t.Errorf("%s with %q: %v", frame, name, err)
			}
		}
	}
}
