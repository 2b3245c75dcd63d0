package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/identitytest"
	"github.com/claudemesh/claudemesh/wire"
)

// vectors come from libsodium; see testdata/README.md.
type vectors struct {
	Keys []struct {
		Name, Secret, XSecret, XPublic string
		Public                         wire.Key
	}
	Publics []struct {
		Name, X25519 string
		Public       wire.Key
	}
	Direct []struct{ From, To, Text, Nonce, Ciphertext string }
	Mesh   []struct{ Key, Text, Nonce, Ciphertext string }
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
	if len(v.Keys) < 2 || len(v.Publics) < 14 || len(v.Direct) < 10 || len(v.Mesh) < 5 {
		t.Fatal("vectors are missing")
	}
	return v
}

func (v vectors) pair(t testing.TB, name string) identity.KeyPair {
	t.Helper()
	for _, k := range v.Keys {
		if k.Name == name {
			pair, err := identity.ParseSecret(k.Secret)
			if err != nil {
				t.Fatal(err)
			}
			return pair
		}
	}
	t.Fatalf("no key pair %q", name)
	return identity.KeyPair{}
}

var generate = identitytest.Pair

// assertRefused fails unless err is want and there is no plaintext.
func assertRefused(t *testing.T, name string, plaintext []byte, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", name, err, want)
	}
	if plaintext != nil {
		t.Errorf("%s: plaintext %q was returned", name, plaintext)
	}
}

func TestPublicKeysConvertAsInLibsodium(t *testing.T) {
	t.Parallel()
	for _, p := range loadVectors(t).Publics {
		got, err := PublicToX25519(p.Public)
		if p.X25519 == "" {
			if !errors.Is(err, ErrBadKey) || got != [32]byte{} {
				t.Errorf("%s: got %x, %v; libsodium refuses it", p.Name, got, err)
			}
			continue
		}
		if err != nil || hex.EncodeToString(got[:]) != p.X25519 {
			t.Errorf("%s: got %x, %v, want %s", p.Name, got, err, p.X25519)
		}
	}
}

func TestSecretKeysConvertAsInLibsodium(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	for _, k := range v.Keys {
		secret := SecretToX25519(v.pair(t, k.Name))
		if hex.EncodeToString(secret[:]) != k.XSecret {
			t.Errorf("%s: got %x", k.Name, secret)
		}
		public, err := PublicToX25519(k.Public)
		if err != nil || hex.EncodeToString(public[:]) != k.XPublic {
			t.Errorf("%s: got %x, %v, want %s", k.Name, public, err, k.XPublic)
		}
	}
}

func TestDirectOpensLibsodiums(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	for _, d := range v.Direct {
		got, err := OpenDirect(v.pair(t, d.To), v.pair(t, d.From).Public(), d.Nonce, d.Ciphertext)
		if err != nil || string(got) != d.Text {
			t.Errorf("%s to %s: got %q, %v, want %q", d.From, d.To, got, err, d.Text)
		}
	}
}

func TestDirectRoundTrip(t *testing.T) {
	t.Parallel()
	alice, bob, eve := generate(t), generate(t), generate(t)
	for _, text := range []string{"", "x", strings.Repeat("long ", 20_000)} {
		nonce, ciphertext, err := SealDirect(alice, bob.Public(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenDirect(bob, alice.Public(), nonce, ciphertext)
		if err != nil || string(got) != text {
			t.Fatalf("got %.20q, %v", got, err)
		}
		got, err = OpenDirect(eve, alice.Public(), nonce, ciphertext)
		assertRefused(t, "for another recipient", got, err, ErrOpen)
		got, err = OpenDirect(bob, eve.Public(), nonce, ciphertext)
		assertRefused(t, "from another sender", got, err, ErrOpen)

		nonce2, ciphertext2, err := SealDirect(alice, bob.Public(), []byte(text))
		if err != nil || nonce2 == nonce || ciphertext2 == ciphertext {
			t.Errorf("sealed twice with one nonce (%v)", err)
		}
	}
}

// TestDirectIsNotReflected checks that the broker cannot send a message back to its sender
// as if the recipient had written it.
func TestDirectIsNotReflected(t *testing.T) {
	t.Parallel()
	alice, bob := generate(t), generate(t)
	nonce, ciphertext, err := SealDirect(alice, bob.Public(), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenDirect(alice, bob.Public(), nonce, ciphertext)
	assertRefused(t, "reflected", got, err, ErrReflected)

	// A message to oneself has no direction.
	nonce, ciphertext, err = SealDirect(alice, alice.Public(), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenDirect(alice, alice.Public(), nonce, ciphertext); err != nil || string(got) != "text" {
		t.Errorf("to oneself: got %q, %v", got, err)
	}
}

func TestDirectRefusesBadKeys(t *testing.T) {
	t.Parallel()
	alice, bob := generate(t), generate(t)
	nonce, ciphertext, err := SealDirect(alice, bob.Public(), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	smallOrder := wire.Key{1}
	for name, key := range map[string]wire.Key{"zero": {}, "small order": smallOrder} {
		n, c, err := SealDirect(alice, key, []byte("text"))
		if !errors.Is(err, ErrBadKey) || n != "" || c != "" {
			t.Errorf("sealed for the %s key: %q, %q, %v", name, n, c, err)
		}
		got, err := OpenDirect(bob, key, nonce, ciphertext)
		assertRefused(t, "from the "+name+" key", got, err, ErrBadKey)
	}
	if _, _, err := SealDirect(identity.KeyPair{}, bob.Public(), nil); !errors.Is(err, ErrBadKey) {
		t.Errorf("sealed without a key pair: %v", err)
	}
	got, err := OpenDirect(identity.KeyPair{}, bob.Public(), nonce, ciphertext)
	assertRefused(t, "without a key pair", got, err, ErrBadKey)
}

func TestMeshOpensLibsodiums(t *testing.T) {
	t.Parallel()
	for _, m := range loadVectors(t).Mesh {
		key, err := ParseMeshKey(m.Key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenMesh(key, m.Nonce, m.Ciphertext)
		if err != nil || string(got) != m.Text {
			t.Errorf("got %q, %v, want %q", got, err, m.Text)
		}
	}
}

func TestMeshRoundTrip(t *testing.T) {
	t.Parallel()
	key, other := NewMeshKey(), NewMeshKey()
	nonce, ciphertext, err := SealMesh(key, []byte("to all"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenMesh(key, nonce, ciphertext); err != nil || string(got) != "to all" {
		t.Errorf("got %q, %v", got, err)
	}
	got, err := OpenMesh(other, nonce, ciphertext)
	assertRefused(t, "another mesh's key", got, err, ErrOpen)
	got, err = OpenMesh(MeshKey{}, nonce, ciphertext)
	assertRefused(t, "no key", got, err, ErrBadKey)
	if n, c, err := SealMesh(MeshKey{}, []byte("to all")); !errors.Is(err, ErrBadKey) || n+c != "" {
		t.Errorf("sealed without a key: %q, %q, %v", n, c, err)
	}
	if n, _, _ := SealMesh(key, []byte("to all")); n == nonce {
		t.Error("sealed twice with one nonce")
	}
}

// TestMeshRefusesUnsealedText checks that the base64 of a plain text with a random nonce,
// which v1 clients broadcast, never passes for a sealed message.
func TestMeshRefusesUnsealedText(t *testing.T) {
	t.Parallel()
	nonce, _, err := SealMesh(NewMeshKey(), nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := base64.StdEncoding.EncodeToString([]byte("a plain broadcast of a v1 client"))
	got, err := OpenMesh(NewMeshKey(), nonce, plain)
	assertRefused(t, "plain text", got, err, ErrOpen)
}

func TestOpenRefusesMalformedText(t *testing.T) {
	t.Parallel()
	alice, bob, key := generate(t), generate(t), NewMeshKey()
	directNonce, directBox, err := SealDirect(alice, bob.Public(), []byte("12345"))
	if err != nil {
		t.Fatal(err)
	}
	meshNonce, meshBox, err := SealMesh(key, []byte("12345"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []struct {
		name, nonce, box string
		open             func(nonce, ciphertext string) ([]byte, error)
	}{
		{"direct", directNonce, directBox, func(n, c string) ([]byte, error) { return OpenDirect(bob, alice.Public(), n, c) }},
		{"mesh", meshNonce, meshBox, func(n, c string) ([]byte, error) { return OpenMesh(key, n, c) }},
	} {
		if got, err := kind.open(kind.nonce, kind.box); err != nil || string(got) != "12345" {
			t.Fatalf("%s: got %q, %v", kind.name, got, err)
		}
		raw, err := base64.StdEncoding.DecodeString(kind.box)
		if err != nil || len(raw) != 5+16 {
			t.Fatalf("%s: box of %d bytes, %v", kind.name, len(raw), err)
		}
		for _, tc := range []struct {
			name, nonce, box string
			want             error
		}{
			{"no nonce", "", kind.box, ErrBadNonce},
			{"nonce of 23 bytes", base64.StdEncoding.EncodeToString(make([]byte, 23)), kind.box, ErrBadNonce},
			{"nonce of 25 bytes", base64.StdEncoding.EncodeToString(make([]byte, 25)), kind.box, ErrBadNonce},
			{"nonce in base64url", strings.Repeat("-_", 16), kind.box, ErrBadNonce},
			{"nonce with a line break", kind.nonce[:8] + "\n" + kind.nonce[8:], kind.box, ErrBadNonce},
			{"another nonce", base64.StdEncoding.EncodeToString(make([]byte, 24)), kind.box, ErrOpen},
			{"no ciphertext", kind.nonce, "", ErrOpen},
			{"shorter than the overhead", kind.nonce, base64.StdEncoding.EncodeToString(raw[:15]), ErrOpen},
			{"cut", kind.nonce, base64.StdEncoding.EncodeToString(raw[:20]), ErrOpen},
			{"longer", kind.nonce, base64.StdEncoding.EncodeToString(append(bytes.Clone(raw), 0)), ErrOpen},
			{"not base64", kind.nonce, "!" + kind.box[1:], ErrBadEncoding},
			{"truncated base64", kind.nonce, kind.box[:len(kind.box)-1], ErrBadEncoding},
			{"line break", kind.nonce, kind.box + "\n", ErrBadEncoding},
			{"line break within", kind.nonce, kind.box[:4] + "\r\n" + kind.box[4:], ErrBadEncoding},
			{"base64url", kind.nonce, "-_" + kind.box[2:], ErrBadEncoding},
		} {
			got, err := kind.open(tc.nonce, tc.box)
			assertRefused(t, kind.name+", "+tc.name, got, err, tc.want)
		}
		for bit := range len(raw) * 8 {
			changed := bytes.Clone(raw)
			changed[bit/8] ^= 1 << (bit % 8)
			got, err := kind.open(kind.nonce, base64.StdEncoding.EncodeToString(changed))
			assertRefused(t, kind.name+" with a changed bit", got, err, ErrOpen)
		}
	}
}

func TestBase64IsCanonical(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, in string
		enc      *base64.Encoding
		ok       bool
	}{
		{"empty", "", base64.StdEncoding, true},
		{"one byte", "AA==", base64.StdEncoding, true},
		{"stray bits", "AB==", base64.StdEncoding, false},
		{"stray bits of two bytes", "AAB=", base64.StdEncoding, false},
		{"no padding", "AA", base64.StdEncoding, false},
		{"half the padding", "AA=", base64.StdEncoding, false},
		{"too much padding", "AA===", base64.StdEncoding, false},
		{"padding within", "AA==AA==", base64.StdEncoding, false},
		{"line break", "AA==\n", base64.StdEncoding, false},
		{"line break only", "\n", base64.StdEncoding, false},
		{"space", "AA ==", base64.StdEncoding, false},
		{"url alphabet", "-_8=", base64.StdEncoding, false},
		{"url", "-_8", base64.RawURLEncoding, true},
		{"url with stray bits", "-_9", base64.RawURLEncoding, false},
		{"url with padding", "-_8=", base64.RawURLEncoding, false},
		{"url with a line break", "-_8\r", base64.RawURLEncoding, false},
		{"standard alphabet", "+/8", base64.RawURLEncoding, false},
	} {
		raw, err := decodeBase64(tc.enc, tc.in)
		if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrBadEncoding) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err == nil && tc.enc.EncodeToString(raw) != tc.in {
			t.Errorf("%s: does not round-trip", tc.name)
		}
	}
}
