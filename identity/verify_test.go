package identity

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

func TestSignaturesMatchLibsodium(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	pairs := map[wire.Key]KeyPair{}
	for _, k := range v.Keys {
		pair, err := ParseSecret(k.Secret)
		if err != nil {
			t.Fatal(err)
		}
		pairs[pair.Public()] = pair
	}
	for _, s := range v.Signatures {
		if !Verify(s.Key, s.Text, s.Signature) {
			t.Errorf("%s: libsodium's signature does not verify", s.Name)
		}
		if got := pairs[s.Key].Sign(s.Text); got != s.Signature {
			t.Errorf("%s: signed %s, libsodium signed %s", s.Name, got, s.Signature)
		}
	}
}

// TestCanonicalTexts checks that package wire builds the texts that stand in the vectors, which
// were written by hand.
func TestCanonicalTexts(t *testing.T) {
	t.Parallel()
	v := loadVectors(t)
	key := map[string]wire.Key{}
	for _, k := range v.Keys {
		key[k.Name], _ = wire.ParseKey(k.Public)
	}
	alice, bob, session := key["alice"], key["bob"], key["session"]
	built := map[string]string{
		"hello":         wire.HelloSigningText("mesh0001", "member01", alice.String(), 1795460356414),
		"attestation":   wire.AttestationSigningText(alice, session, 1795503558465),
		"session hello": wire.SessionHelloSigningText("mesh0001", alice, session, 1795460358465),
		"invite v1":     wire.InviteV1SigningText("mesh0001", "team", "ws://127.0.0.1:7900/ws", 1795460400, "cm9vdA", "member", alice.String()),
		"invite v2":     wire.InviteV2SigningText("mesh0001", "invite01", 1795460400, "member", alice.String()),
		"create mesh":   wire.CreateMeshSigningText("team", "Team é", "Bob 🙂", bob, 1795460356414),
		"claim":         wire.ClaimSigningText("code1234", bob, 1795460356414),
		"empty":         "",
	}
	for _, s := range v.Signatures {
		if text, ok := built[s.Name]; !ok || text != s.Text {
			t.Errorf("%s: built %q, signed %q", s.Name, text, s.Text)
		}
	}
}

func TestVerifyDecidesAsLibsodium(t *testing.T) {
	t.Parallel()
	for _, h := range loadVectors(t).Hostile {
		if got := Verify(h.Key, h.Text, h.Signature); got != h.Valid {
			t.Errorf("%s: Verify says %v, libsodium %v", h.Name, got, h.Valid)
		}
	}
}

// TestStrongPointIsCanonical checks that a key has one encoding only, although y and y + p
// encode the same point.
func TestStrongPointIsCanonical(t *testing.T) {
	t.Parallel()
	tried := 0
	for y := byte(2); y < 19; y++ {
		reduced, unreduced := wire.Key{y}, wire.Key(bytes.Repeat([]byte{0xff}, wire.KeySize))
		unreduced[0], unreduced[31] = 0xed+y, 0x7f
		if !strongPoint(reduced[:]) {
			continue // not on the curve
		}
		tried++
		if strongPoint(unreduced[:]) {
			t.Errorf("the encoding y = p + %d is accepted", y)
		}
	}
	if tried == 0 {
		t.Error("no point was tried")
	}
}

func TestVerifyRefusesZeroValues(t *testing.T) {
	t.Parallel()
	k := generate(t)
	if Verify(wire.Key{}, "", wire.Signature{}) || Verify(k.Public(), "", wire.Signature{}) ||
		Verify(wire.Key{}, "", k.Sign("")) {
		t.Error("a zero key or signature verifies")
	}
}

func TestVerifyRefusesEveryChangedBit(t *testing.T) {
	t.Parallel()
	k := generate(t)
	const text = "mesh|member"
	sig := k.Sign(text)
	for bit := range len(sig) * 8 {
		changed := sig
		changed[bit/8] ^= 1 << (bit % 8)
		if Verify(k.Public(), text, changed) {
			t.Errorf("verifies with bit %d of the signature changed", bit)
		}
	}
	for bit := range wire.KeySize * 8 {
		key := k.Public()
		key[bit/8] ^= 1 << (bit % 8)
		if Verify(key, text, sig) {
			t.Errorf("verifies with bit %d of the key changed", bit)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	k := generate(b)
	for _, size := range []int{10, 200, 64 << 10} {
		text := strings.Repeat("x", size)
		sig := k.Sign(text)
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !Verify(k.Public(), text, sig) {
					b.Fatal("does not verify")
				}
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	k := generate(b)
	text := strings.Repeat("x", 200)
	b.ReportAllocs()
	for b.Loop() {
		k.Sign(text)
	}
}
