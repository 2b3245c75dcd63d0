package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/claudemesh/claudemesh/wire"
)

func testPayload() InvitePayload {
	return InvitePayload{
		MeshID: "0190b3c4d5e6", Slug: "team", Name: "Team <é> 🙂",
		OwnerPubkey: wire.Key{1}, RootKey: NewMeshKey().Encode(), Inviter: wire.Key{2},
	}
}

func TestParseSecrets(t *testing.T) {
	t.Parallel()
	good := base64.RawURLEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcde\xff"))
	for _, tc := range []struct {
		name, in string
		want     error
	}{
		{"good", good, nil},
		{"empty", "", ErrBadKey},
		{"31 bytes", base64.RawURLEncoding.EncodeToString(make([]byte, 31)), ErrBadKey},
		{"33 bytes", base64.RawURLEncoding.EncodeToString(make([]byte, 33)), ErrBadKey},
		{"all zero", base64.RawURLEncoding.EncodeToString(make([]byte, 32)), ErrBadKey},
		{"padding", good + "=", ErrBadEncoding},
		{"stray bits", good[:42] + "9", ErrBadEncoding},
		{"standard alphabet", "+/" + good[2:], ErrBadEncoding},
		{"line break", good + "\n", ErrBadEncoding},
		{"hex", strings.Repeat("0f", 32), ErrBadKey},
	} {
		key, err := ParseMeshKey(tc.in)
		if !errors.Is(err, tc.want) || key.IsZero() != (err != nil) {
			t.Errorf("mesh key, %s: got %v, want %v", tc.name, err, tc.want)
		}
		link, linkErr := ParseLinkSecret(tc.in)
		if !errors.Is(linkErr, tc.want) || link.IsZero() != (linkErr != nil) {
			t.Errorf("link secret, %s: got %v, want %v", tc.name, linkErr, tc.want)
		}
		if err == nil && (key.Encode() != tc.in || link.Encode() != tc.in) {
			t.Errorf("%s: does not round-trip", tc.name)
		}
	}
}

func TestMeshKeyEqual(t *testing.T) {
	t.Parallel()
	a, b := NewMeshKey(), NewMeshKey()
	again, err := ParseMeshKey(a.Encode())
	if err != nil {
		t.Fatal(err)
	}
	var zero MeshKey
	if !a.Equal(again) || a.Equal(b) || a.Equal(zero) || zero.Equal(a) || !zero.Equal(MeshKey{}) {
		t.Error("Equal returned a wrong result")
	}
	if zero.Encode() != "" || (LinkSecret{}).Encode() != "" {
		t.Error("the zero value encodes to a non-empty text")
	}
}

func TestInviteRoundTrip(t *testing.T) {
	t.Parallel()
	secret, want := NewLinkSecret(), testPayload()
	sealed, err := secret.SealInvite(want)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := ParseLinkSecret(secret.Encode())
	if err != nil {
		t.Fatal(err)
	}
	got, err := joined.OpenInvite(sealed)
	if err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	if joined.ClaimKey().Public() != secret.ClaimKey().Public() {
		t.Error("the claim key isn't deterministic")
	}
	other := NewLinkSecret()
	if other.ClaimKey().Public() == secret.ClaimKey().Public() {
		t.Error("two links have the same claim key")
	}
	if got, err := other.OpenInvite(sealed); !errors.Is(err, ErrOpen) || got != (InvitePayload{}) {
		t.Errorf("opened with another link: %v, %v", got, err)
	}
}

// TestLinkSecretDerivation pins the derivation, which is part of the format of links: existing
// links must keep working. The expected values come from another implementation of HKDF.
func TestLinkSecretDerivation(t *testing.T) {
	t.Parallel()
	secret, err := ParseLinkSecret("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE")
	if err != nil {
		t.Fatal(err)
	}
	const (
		wantClaimSeed  = "d08a3f17e02041bad08a1a50d77c01cc2d237da663e48e6a87ff20df01f29b4b"
		wantPayloadKey = "4e66324ad7dd28d20c0ee0d6c7a59b8c0b84f1f0926965c00da370a439995b9b"
	)
	claim, payload := secret.derive(claimKeyInfo), secret.derive(payloadKeyInfo)
	if got := fmt.Sprintf("%x", claim); got != wantClaimSeed {
		t.Errorf("claim seed %s", got)
	}
	if got := fmt.Sprintf("%x", payload); got != wantPayloadKey {
		t.Errorf("payload key %s", got)
	}
	if secret.ClaimKey().Seed() != claim {
		t.Error("the claim key comes from another seed")
	}
}

func TestSealInviteRefuses(t *testing.T) {
	t.Parallel()
	noKey, badKey := testPayload(), testPayload()
	noKey.RootKey, badKey.RootKey = "", "!"
	for _, tc := range []struct {
		name   string
		secret LinkSecret
		p      InvitePayload
		want   error
	}{
		{"no secret", LinkSecret{}, testPayload(), ErrBadKey},
		{"no root key", NewLinkSecret(), noKey, ErrBadKey},
		{"bad root key", NewLinkSecret(), badKey, ErrBadEncoding},
	} {
		if sealed, err := tc.secret.SealInvite(tc.p); !errors.Is(err, tc.want) || sealed != "" {
			t.Errorf("%s: got %q, %v, want %v", tc.name, sealed, err, tc.want)
		}
	}
}

func TestOpenInviteRefuses(t *testing.T) {
	t.Parallel()
	secret := NewLinkSecret()
	sealed, err := secret.SealInvite(testPayload())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(name string, s LinkSecret, in string, want error) {
		t.Helper()
		if got, err := s.OpenInvite(in); !errors.Is(err, want) || got != (InvitePayload{}) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
		}
	}
	refused("no secret", LinkSecret{}, sealed, ErrBadKey)
	refused("empty", secret, "", ErrOpen)
	refused("padding", secret, sealed+"=", ErrBadEncoding)
	refused("line break", secret, sealed+"\n", ErrBadEncoding)
	for n := range raw {
		refused("cut", secret, base64.RawURLEncoding.EncodeToString(raw[:n]), ErrOpen)
		changed := bytes.Clone(raw)
		changed[n] ^= 1
		refused("changed", secret, base64.RawURLEncoding.EncodeToString(changed), ErrOpen)
	}
	for name, tc := range map[string]struct {
		json string
		want error
	}{
		"not JSON":      {"root key", ErrBadEncoding},
		"not an object": {`["x"]`, ErrBadEncoding},
		"wrong type":    {`{"meshId":1}`, ErrBadEncoding},
		"bad key":       {`{"inviter":"xyz"}`, ErrBadEncoding},
		"no root key":   {`{"meshId":"m"}`, ErrBadKey},
		"bad root key":  {`{"rootKey":"??"}`, ErrBadEncoding},
	} {
		refused(name, secret, sealRaw(secret, tc.json), tc.want)
	}
}

// TestOpenInviteToleratesUnknownFields checks that an invite from a later version may have
// more fields.
func TestOpenInviteToleratesUnknownFields(t *testing.T) {
	t.Parallel()
	secret, key := NewLinkSecret(), NewMeshKey().Encode()
	got, err := secret.OpenInvite(sealRaw(secret, `{"meshId":"m","rootKey":"`+key+`","epoch":7}`))
	if err != nil || got.MeshID != "m" || got.RootKey != key {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSecretsNeverShow(t *testing.T) {
	t.Parallel()
	key, link, payload := NewMeshKey(), NewLinkSecret(), testPayload()
	payload.RootKey = key.Encode()
	type holder struct {
		Key        MeshKey
		Link       *LinkSecret
		Payload    InvitePayload
		unexported MeshKey
		hidden     *LinkSecret
	}
	held := holder{key, &link, payload, key, &link}

	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("text", "key", key, "link", link, "payload", payload, "held", held)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("json", "key", key, "link", link, "payload", payload, "held", held)
	out := logged.String() + key.String() + link.String() + payload.String()
	for _, v := range []any{key, &key, link, &link, payload, &payload, held, &held, []MeshKey{key}, map[string]LinkSecret{"l": link}} {
		out += fmt.Sprintf("\n%v %+v %#v %s %q %x %X %d %o %b %c %U %t", v, v, v, v, v, v, v, v, v, v, v, v, v)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out += string(text)
	}
	for _, secret := range [][]byte{key.secret()[:4], link.secret()[:4], []byte(key.Encode()), []byte(link.Encode())} {
		for _, format := range []string{"%x", "%X", "% x", "%d", "%o", "%b", "%s", "%q"} {
			shown := strings.Trim(fmt.Sprintf(format, secret), `[]"`)
			if at := strings.Index(out, shown); at >= 0 {
				t.Errorf("a secret is shown as %s: ...%.80s", format, out[max(0, at-40):])
			}
		}
		goSyntax := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}")
		if strings.Contains(out, goSyntax) {
			t.Error("a secret is shown as Go syntax")
		}
	}
}
