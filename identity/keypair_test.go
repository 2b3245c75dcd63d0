package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

// vectors come from libsodium; see testdata/README.md.
type vectors struct {
	Keys []struct {
		Name, Seed, Public, Secret string
	}
	Signatures []struct {
		Name, Text string
		Key        wire.Key
		Signature  wire.Signature
	}
	Hostile []struct {
		Name, Text string
		Key        wire.Key
		Signature  wire.Signature
		Valid      bool
	}
}

func loadVectors(t testing.TB) vectors {
	t.Helper()
	raw, err := os.ReadFile("testdata/libsodium.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Keys) < 3 || len(v.Signatures) < 8 || len(v.Hostile) < 14 {
		t.Fatalf("vectors are missing: %d, %d, %d", len(v.Keys), len(v.Signatures), len(v.Hostile))
	}
	return v
}

func generate(t testing.TB) KeyPair {
	t.Helper()
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyPairMatchesLibsodium(t *testing.T) {
	t.Parallel()
	for _, v := range loadVectors(t).Keys {
		seed, err := wire.ParseKey(v.Seed)
		if err != nil {
			t.Fatal(err)
		}
		k := FromSeed(seed)
		if k.Public().String() != v.Public || k.SecretHex() != v.Secret || k.Seed() != seed {
			t.Errorf("%s: FromSeed gives %s, %s", v.Name, k.Public(), k.SecretHex())
		}
		parsed, err := ParseSecret(v.Secret)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if parsed.SecretHex() != v.Secret {
			t.Errorf("%s: ParseSecret gives another key", v.Name)
		}
	}
}

func TestGenerateMakesDistinctKeys(t *testing.T) {
	t.Parallel()
	a, b := generate(t), generate(t)
	if a.IsZero() || a.Public().IsZero() || a.Public() == b.Public() {
		t.Fatalf("got %s and %s", a.Public(), b.Public())
	}
	if !Verify(a.Public(), "text", a.Sign("text")) || Verify(b.Public(), "text", a.Sign("text")) {
		t.Fatal("a signature must be valid only under its own key")
	}
}

func TestParseSecretRefuses(t *testing.T) {
	t.Parallel()
	keys := loadVectors(t).Keys
	good, other := keys[0].Secret, keys[1].Secret
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"empty", "", ErrBadSecret},
		{"seed only", good[:64], ErrBadSecret},
		{"too long", good + "00", ErrBadSecret},
		{"odd length", good[:127], ErrBadSecret},
		{"upper case", strings.ToUpper(good), ErrBadSecret},
		{"one upper-case digit", "A" + good[1:], ErrBadSecret},
		{"not hex", "g" + good[1:], ErrBadSecret},
		{"white space", good[:127] + "\n", ErrBadSecret},
		{"public key of another seed", good[:64] + other[64:], ErrSecretMismatch},
		{"public key of zeros", good[:64] + strings.Repeat("0", 64), ErrSecretMismatch},
	} {
		k, err := ParseSecret(tc.in)
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: got error %v, want %v", tc.name, err, tc.want)
		}
		if !k.IsZero() {
			t.Errorf("%s: a key was returned", tc.name)
		}
		if err != nil && len(tc.in) > 8 && strings.Contains(err.Error(), tc.in[:8]) {
			t.Errorf("%s: the error shows the secret", tc.name)
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	for _, v := range loadVectors(f).Keys {
		f.Add(v.Secret)
		f.Add(strings.ToUpper(v.Secret))
		f.Add(v.Secret[:64] + v.Seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseSecret(s)
		if err != nil {
			if !k.IsZero() {
				t.Fatal("a key came with an error")
			}
			return
		}
		if k.SecretHex() != s {
			t.Fatal("the secret does not round-trip")
		}
		if !Verify(k.Public(), s, k.Sign(s)) {
			t.Fatal("the key does not verify its own signature")
		}
	})
}

func TestKeyPairNeverShowsItsSecret(t *testing.T) {
	t.Parallel()
	k := generate(t)
	type holder struct {
		Exported   KeyPair
		Pointer    *KeyPair
		unexported KeyPair
	}
	held := holder{k, &k, k}

	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("text", "key", k, "held", held)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("json", "key", k, "held", held)
	out := logged.String() + k.String()
	for _, v := range []any{k, &k, held, &held, []KeyPair{k}, map[string]KeyPair{"k": k}} {
		out += fmt.Sprintf("\n%v %+v %#v %s %q %x %X %d %o %b %c %U %t %p", v, v, v, v, v, v, v, v, v, v, v, v, v, v)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out += string(text)
	}
	seed := k.Seed()
	assertAbsent(t, out, seed[:])
	if !strings.Contains(out, k.Public().Short()) {
		t.Error("the public key is not shown")
	}
}

// assertAbsent fails if out contains the first bytes of secret in any format in which
// Go prints bytes.
func assertAbsent(t *testing.T, out string, secret []byte) {
	t.Helper()
	head := secret[:4]
	for _, format := range []string{"%x", "%X", "% x", "%d", "%v", "%o", "%b", "%s", "%q"} {
		if shown := strings.Trim(fmt.Sprintf(format, head), `[]"`); strings.Contains(out, shown) {
			at := strings.Index(out, shown)
			t.Errorf("the secret is shown as %s: ...%.80s", format, out[max(0, at-40):])
		}
	}
	goSyntax := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", head), "[]byte{"), "}")
	if strings.Contains(out, goSyntax) {
		t.Errorf("the secret is shown as %s", goSyntax)
	}
}

func TestZeroKeyPair(t *testing.T) {
	t.Parallel()
	var k KeyPair
	if !k.IsZero() || !k.Public().IsZero() || k.SecretHex() != "" || fmt.Sprint(k) != "KeyPair(none)" {
		t.Errorf("got %v, %s, %q", k, k.Public(), k.SecretHex())
	}
}
