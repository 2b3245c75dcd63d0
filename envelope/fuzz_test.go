package envelope

import (
	"encoding/base64"
	"testing"

	"golang.org/x/crypto/nacl/secretbox"
)

// sealRaw seals any text as an invite.
func sealRaw(s LinkSecret, text string) string {
	key, nonce := s.derive(payloadKeyInfo), newNonce()
	return base64.RawURLEncoding.EncodeToString(secretbox.Seal(nonce[:], []byte(text), &nonce, &key))
}

// FuzzOpen checks that only a message sealed with the key opens.
func FuzzOpen(f *testing.F) {
	v := loadVectors(f)
	key, err := ParseMeshKey(v.Mesh[0].Key)
	if err != nil {
		f.Fatal(err)
	}
	alice, bob := v.pair(f, "alice"), v.pair(f, "bob")
	sealed := map[string]bool{}
	for _, d := range v.Direct {
		f.Add(d.Nonce, d.Ciphertext)
		sealed[d.Nonce+" "+d.Ciphertext] = true
	}
	for _, m := range v.Mesh {
		f.Add(m.Nonce, m.Ciphertext)
		f.Add(m.Nonce+"\n", m.Ciphertext[1:])
		sealed[m.Nonce+" "+m.Ciphertext] = true
	}
	f.Fuzz(func(t *testing.T, nonce, ciphertext string) {
		direct, directErr := OpenDirect(bob, alice.Public(), nonce, ciphertext)
		mesh, meshErr := OpenMesh(key, nonce, ciphertext)
		if directErr != nil && direct != nil || meshErr != nil && mesh != nil {
			t.Fatal("plaintext came with an error")
		}
		if (directErr == nil || meshErr == nil) && !sealed[nonce+" "+ciphertext] {
			t.Fatalf("opened an unsealed message: %q, %q", nonce, ciphertext)
		}
	})
}

func FuzzParseLinkSecret(f *testing.F) {
	f.Add(NewLinkSecret().Encode())
	f.Add(NewLinkSecret().Encode() + "=")
	f.Add("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, s string) {
		secret, err := ParseLinkSecret(s)
		if secret.IsZero() != (err != nil) {
			t.Fatalf("secret with error %v", err)
		}
		if err == nil && secret.Encode() != s {
			t.Fatalf("%q does not round-trip", s)
		}
		key, keyErr := ParseMeshKey(s)
		if (keyErr == nil) != (err == nil) || key.Encode() != secret.Encode() {
			t.Fatalf("ParseMeshKey and ParseLinkSecret differ: %v, %v", keyErr, err)
		}
	})
}

// FuzzOpenInvite tries the text both as input from a hostile broker and as the payload
// of a hostile inviter.
func FuzzOpenInvite(f *testing.F) {
	secret, err := ParseLinkSecret("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"meshId":"m","slug":"s","rootKey":"` + NewMeshKey().Encode() + `"}`)
	f.Add(sealRaw(NewLinkSecret(), `{}`))
	f.Add(`{"rootKey":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := secret.OpenInvite(text); err == nil || p != (InvitePayload{}) {
			t.Fatalf("opened an unsealed payload: %v", err)
		}
		p, err := secret.OpenInvite(sealRaw(secret, text))
		if err != nil {
			if p != (InvitePayload{}) {
				t.Fatal("a payload came with an error")
			}
			return
		}
		again, err := secret.SealInvite(p)
		if err != nil {
			t.Fatalf("seal again: %v", err)
		}
		if q, err := secret.OpenInvite(again); err != nil || q != p {
			t.Fatalf("does not round-trip: %v", err)
		}
	})
}
