package audit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudemesh/claudemesh/wire"
)

// testKey is a key that is the same in every run.
func testKey(n byte) Key {
	k, err := ParseKey([]byte(strings.Repeat(string(rune('a'+n)), 32)))
	if err != nil {
		panic(err)
	}
	return k
}

// TestCheckpointIsAsSpecified reads a checkpoint by C2SP's description alone.
func TestCheckpointIsAsSpecified(t *testing.T) {
	t.Parallel()
	_, head := chain(testMesh, 12)
	signed := testKey(0).Checkpoint(testMesh, head)
	verifier, err := note.NewVerifier(testKey(0).Verifier(testMesh))
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(signed), note.VerifierList(verifier))
	if err != nil {
		t.Fatal(err)
	}
	origin := "claudemesh/01020300000000000000000000000000"
	if want := origin + "\n12\n" + base64.StdEncoding.EncodeToString(head.Hash[:]) + "\n"; n.Text != want {
		t.Errorf("text %q; want %q", n.Text, want)
	}
	if len(n.Sigs) != 1 || n.Sigs[0].Name != origin {
		t.Errorf("signatures %+v; want one by %s", n.Sigs, origin)
	}
	if got, err := OpenCheckpoint(testKey(0).Verifier(testMesh), testMesh, signed); err != nil || got != head {
		t.Errorf("%+v, error %v; want %+v", got, err, head)
	}
	empty := testKey(0).Checkpoint(testMesh, Head{})
	if got, err := OpenCheckpoint(testKey(0).Verifier(testMesh), testMesh, empty); err != nil || got != (Head{}) {
		t.Errorf("the empty log: %+v, error %v", got, err)
	}
}

func TestNotesThatSayNothing(t *testing.T) {
	t.Parallel()
	key := testKey(0)
	_, head := chain(testMesh, 12)
	hash := base64.StdEncoding.EncodeToString(head.Hash[:])
	origin := Origin(testMesh)
	signed := func(text string) string { return key.sign(testMesh, text) }
	good := key.Checkpoint(testMesh, head)
	cases := []struct{ name, note string }{
		{"nothing", ""},
		{"no signature", origin + "\n12\n" + hash + "\n"},
		{"only unknown signatures", testKey(1).Checkpoint(testMesh, head)},
		{"another mesh", key.Checkpoint(otherMesh, head)},
		{"another mesh's text", signed(Origin(otherMesh) + "\n12\n" + hash + "\n")},
		{"another size", strings.Replace(good, "\n12\n", "\n13\n", 1)},
		{"the signature of another text", strings.Replace(signed(origin+"\n13\n"+hash+"\n"), "\n13\n", "\n12\n", 1)},
		{"leading zero", signed(origin + "\n012\n" + hash + "\n")},
		{"sign", signed(origin + "\n+12\n" + hash + "\n")},
		{"negative", signed(origin + "\n-12\n" + hash + "\n")},
		{"hexadecimal", signed(origin + "\n0x12\n" + hash + "\n")},
		{"too large", signed(origin + "\n9223372036854775808\n" + hash + "\n")},
		{"space", signed(origin + "\n 12\n" + hash + "\n")},
		{"no hash", signed(origin + "\n12\n")},
		{"short hash", signed(origin + "\n12\n" + base64.StdEncoding.EncodeToString(head.Hash[:31]) + "\n")},
		{"base64 with other bits", signed(origin + "\n12\n" + hash[:42] + string(hash[42]+1) + "=\n")},
		{"hash without padding", signed(origin + "\n12\n" + strings.TrimRight(hash, "=") + "\n")},
		{"size 0 with a hash", signed(origin + "\n0\n" + hash + "\n")},
		{"a size without a hash", signed(origin + "\n12\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n")},
		{"empty extension", signed(origin + "\n12\n" + hash + "\n\nx\n")},
		{"announcement of a restore", key.Announce(testMesh, Restore{head, testTime})},
		{"control character", strings.Replace(good, "\n12\n", "\n12\r\n", 1)},
		{"no end of line", strings.TrimSuffix(good, "\n")},
		{"too long", signed(origin + "\n12\n" + hash + "\n" + strings.Repeat("x", maxNote) + "\n")},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, err := OpenCheckpoint(key.Verifier(testMesh), testMesh, c.note); !errors.Is(err, ErrBadNote) || got != (Head{}) {
				t.Errorf("%+v, error %v; want ErrBadNote", got, err)
			}
		})
	}
	for _, verifier := range []string{"", "x", key.Verifier(otherMesh), key.Verifier(testMesh) + "A", testKey(1).Verifier(testMesh)} {
		if _, err := OpenCheckpoint(verifier, testMesh, good); !errors.Is(err, ErrBadNote) {
			t.Errorf("with the verifier key %q: %v", verifier, err)
		}
	}
}

// TestOtherSignaturesAndExtensions checks that a note may have signatures of witnesses, and lines
// that only later brokers know.
func TestOtherSignaturesAndExtensions(t *testing.T) {
	t.Parallel()
	_, head := chain(testMesh, 12)
	signed := testKey(0).sign(testMesh, Origin(testMesh)+"\n"+headLines(head)+"extension\n")
	_, theirs, _ := strings.Cut(testKey(1).Checkpoint(testMesh, head), "\n\n")
	if got, err := OpenCheckpoint(testKey(0).Verifier(testMesh), testMesh, signed+theirs); err != nil || got != head {
		t.Errorf("%+v, error %v; want %+v", got, err, head)
	}
}

func TestAnnouncements(t *testing.T) {
	t.Parallel()
	key := testKey(0)
	_, head := chain(testMesh, 12)
	want := Restore{head, testTime.Truncate(1e6)}
	if got, err := OpenRestore(key.Verifier(testMesh), testMesh, key.Announce(testMesh, want)); err != nil || got != want {
		t.Errorf("%+v, error %v; want %+v", got, err, want)
	}
	first := Origin(testMesh) + restoredSuffix + "\n"
	for name, signed := range map[string]string{
		"checkpoint":   key.Checkpoint(testMesh, head),
		"another mesh": key.Announce(otherMesh, want),
		"another key":  testKey(1).Announce(testMesh, want),
		"no time":      key.sign(testMesh, first+headLines(head)),
		"bad time":     key.sign(testMesh, first+headLines(head)+"yesterday\n"),
		"bad size":     key.sign(testMesh, first+"x\ny\n1\n"),
	} {
		if _, err := OpenRestore(key.Verifier(testMesh), testMesh, signed); !errors.Is(err, ErrBadNote) {
			t.Errorf("%s: error %v, want ErrBadNote", name, err)
		}
	}
}

func TestKeyIsNotPrinted(t *testing.T) {
	t.Parallel()
	k := testKey(0)
	type holder struct{ Key Key }
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, v := range []any{k, &k, holder{k}, []Key{k}} {
			if text := fmt.Sprintf(format, v); strings.Contains(text, "aaaa") || strings.Contains(text, "6161") || strings.Contains(text, "97 97") {
				t.Errorf("%s of %T shows the key: %s", format, v, text)
			}
		}
	}
	if b, err := json.Marshal(holder{k}); err == nil {
		t.Errorf("as JSON: %s", b)
	}
	if _, err := ParseKey(k.Seed()[:31]); err == nil {
		t.Error("a short key was accepted")
	}
}

// FuzzOpenNotes checks that a note is read in one way only, and that no note but the signed
// ones is believed.
func FuzzOpenNotes(f *testing.F) {
	key := testKey(0)
	_, head := chain(testMesh, 12)
	genuine := map[string]bool{}
	for _, text := range []string{key.Checkpoint(testMesh, head), key.Checkpoint(testMesh, Head{}), key.Announce(testMesh, Restore{head, testTime})} {
		n, _, _ := strings.Cut(text, "\n\n")
		genuine[n+"\n"] = true
		f.Add(text)
	}
	f.Add(testKey(1).Checkpoint(testMesh, head))
	f.Add(key.Checkpoint(wire.ID{9}, head))
	verifier := key.Verifier(testMesh)
	f.Fuzz(func(t *testing.T, signed string) {
		_, err := OpenCheckpoint(verifier, testMesh, signed)
		if err != nil {
			if !errors.Is(err, ErrBadNote) {
				t.Fatalf("got error %v", err)
			}
			_, err = OpenRestore(verifier, testMesh, signed)
		}
		if err != nil {
			if !errors.Is(err, ErrBadNote) {
				t.Fatalf("got error %v", err)
			}
			return
		}
		if i := strings.LastIndex(signed, "\n\n"); i < 0 || !genuine[signed[:i+1]] {
			t.Fatalf("accepted %q", signed)
		}
	})
}
