package tests

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"filippo.io/edwards25519"
	"golang.org/x/crypto/nacl/box"
)

// box25519 converts a key pair like crypto_sign_ed25519_sk_to_curve25519.
func (k keyPair) box25519() *[32]byte {
	sum := sha512.Sum512(k.secret.Seed())
	return (*[32]byte)(sum[:32])
}

// box25519 converts a public key like crypto_sign_ed25519_pk_to_curve25519.
func box25519(t testing.TB, key string) *[32]byte {
	t.Helper()
	raw, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	p, err := new(edwards25519.Point).SetBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	return (*[32]byte)(p.BytesMontgomery())
}

// seal seals a text for the key to and returns the nonce and ciphertext for a send.
func (k keyPair) seal(t testing.TB, to, text string) (nonce, ciphertext string) {
	t.Helper()
	var n [24]byte
	rand.Read(n[:])
	sealed := box.Seal(nil, []byte(text), &n, box25519(t, to), k.box25519())
	return base64.StdEncoding.EncodeToString(n[:]), base64.StdEncoding.EncodeToString(sealed)
}

// v1Text reads a push like a v1 client: it ignores bodyVersion, tries crypto_box with each
// key, and else takes the body for the base64 of a text. sealed says whether a crypto_box
// opened.
func v1Text(t testing.TB, m frame, keys ...keyPair) (text string, sealed bool) {
	t.Helper()
	nonce, err := base64.StdEncoding.DecodeString(m.str("nonce"))
	if err != nil || len(nonce) != 24 {
		t.Fatalf("nonce of %s: %v", m, err)
	}
	raw, err := base64.StdEncoding.DecodeString(m.str("ciphertext"))
	if err != nil {
		t.Fatalf("ciphertext of %s: %v", m, err)
	}
	for _, k := range keys {
		if b, ok := box.Open(nil, raw, (*[24]byte)(nonce), box25519(t, m.str("senderPubkey")), k.box25519()); ok {
			return string(b), true
		}
	}
	if !utf8.Valid(raw) {
		t.Errorf("a v1 client shows its user and its model these bytes: %q", raw)
	}
	return string(raw), false
}

// joinV1 adds a member with a v1 token, like a v1 client.
func joinV1(t testing.TB, s *server, link, name string) *member {
	t.Helper()
	token := link[strings.LastIndex(link, "/")+1:]
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	var payload frame
	if err := json.Unmarshal(raw, &payload); err != nil {
		t.Fatal(err)
	}
	p := &member{team: &team{srv: s, id: payload.str("mesh_id")}, name: name, keys: newKeys(), host: name + "-host"}
	status, answer := s.post(t, "/join", v1Invite{token: token, payload: payload}.joinBody(p.keys.hex, name))
	if status != 200 {
		t.Fatalf("join: %d %s", status, answer)
	}
	p.id = answer.str("memberId")
	return p
}

// sealFields seals a text like a v1 client and returns the fields of the send.
func sealFields(t *testing.T, from keyPair, to, text string) []any {
	t.Helper()
	nonce, ciphertext := from.seal(t, to, text)
	return []any{"nonce", nonce, "ciphertext", ciphertext}
}

// openFrom opens a push that is sealed for a key.
func openFrom(t *testing.T, own keyPair, m frame) string {
	t.Helper()
	text, sealed := v1Text(t, m, own)
	if !sealed {
		t.Fatalf("can't open %s", m)
	}
	return text
}
