package mesh

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	w, key := setup(t), newKey(t)
	l := w.link(w.asAdmin, nil)
	res, joined, err := w.Claim(t.Context(), l.code, l.claim(key, testNow), testNow)
	if err != nil {
		t.Fatal(err)
	}
	m := w.member(key)
	want := wire.ClaimResult{
		SealedRootKey: testSealed, MeshID: w.mesh.ID, MemberID: m.ID, OwnerPubkey: w.ownerKey.Public(),
		CanonicalV2: wire.InviteV2SigningText(w.mesh.ID.String(), l.ID.String(), testNow.Add(time.Hour).Unix(), "member", w.ownerKey.Public().String()),
		MeshSlug:    w.mesh.Slug, MeshName: w.mesh.Name, Role: "member",
	}
	if res != want {
		t.Errorf("got %+v, want %+v", res, want)
	}
	if joined.Member != m || joined.AlreadyMember || joined.InviteID != l.ID || m.Role != Normal || m.Groups[0].Name != "dev/go" || m.DisplayName != "Newcomer "+key.Public().Short() {
		t.Errorf("joined %+v, member %+v", joined, m)
	}
	want.AlreadyMember = true
	if again, _, err := w.Claim(t.Context(), l.code, l.claim(key, testNow), testNow); err != nil || again != want {
		t.Errorf("second claim: got %+v, %v; want %+v", again, err, want)
	}
	if n := w.used(l.ID); n != 1 {
		t.Errorf("%d uses burned, want 1", n)
	}
}

func TestClaimRefusals(t *testing.T) {
	t.Parallel()
	minute := time.Minute
	cases := []struct {
		name   string
		invite func(*wire.InviteCreate)
		claim  func(testLink, wire.Claim) (string, wire.Claim)
		at     time.Duration // time since the claim was signed
		code   wire.Code
	}{
		{"latest", nil, nil, minute, ""},
		{"earliest", nil, nil, -minute, ""},
		{"no name", nil, func(l testLink, c wire.Claim) (string, wire.Claim) { c.DisplayName = "\n"; return l.code, c }, 0, ""},
		{"too late", nil, nil, minute + time.Millisecond, wire.CodeTimestampSkew},
		{"too early", nil, nil, -minute - time.Millisecond, wire.CodeTimestampSkew},
		{"empty", nil, func(l testLink, _ wire.Claim) (string, wire.Claim) { return l.code, wire.Claim{} }, 0, wire.CodeMalformed},
		{"both shapes", nil, func(l testLink, c wire.Claim) (string, wire.Claim) {
			c.RecipientX25519 = v1Claim().RecipientX25519
			return l.code, c
		}, 0, wire.CodeMalformed},
		{"no key", nil, func(l testLink, c wire.Claim) (string, wire.Claim) { c.PeerPubkey = ""; return l.code, c }, 0, wire.CodeMalformed},
		{"zero key", nil, func(l testLink, c wire.Claim) (string, wire.Claim) {
			c.PeerPubkey = wire.Key{}.String()
			return l.code, c
		}, 0, wire.CodeMalformed},
		{"no signature", nil, func(l testLink, c wire.Claim) (string, wire.Claim) { c.Signature = ""; return l.code, c }, 0, wire.CodeMalformed},
		{"malformed comes before not found", nil, func(_ testLink, c wire.Claim) (string, wire.Claim) {
			c.Signature = ""
			return "0123456789abcdef", c
		}, 0, wire.CodeMalformed},
		{"unknown code", nil, func(_ testLink, c wire.Claim) (string, wire.Claim) { return "0123456789abcdef", c }, 0, wire.CodeNotFound},
		{"bad code", nil, func(_ testLink, c wire.Claim) (string, wire.Claim) { return "../x", c }, 0, wire.CodeNotFound},
		{"other key", nil, func(l testLink, c wire.Claim) (string, wire.Claim) {
			c.PeerPubkey = strings.Repeat("58", 32)
			return l.code, c
		}, 0, wire.CodeBadSignature},
		{"other timestamp", nil, func(l testLink, c wire.Claim) (string, wire.Claim) { c.Timestamp++; return l.code, c }, 0, wire.CodeBadSignature},
		{"signed for another code", nil, func(l testLink, c wire.Claim) (string, wire.Claim) {
			l2 := l
			l2.code = "0123456789abcdef"
			c.Signature = l2.claim(l.key, testNow).Signature
			return l.code, c
		}, 0, wire.CodeBadSignature},
		{"expired", func(c *wire.InviteCreate) { c.ExpiresAt = testNow.UnixMilli() + 1000 }, nil, time.Second, wire.CodeExpired},
		{"v1, short key", nil, func(l testLink, _ wire.Claim) (string, wire.Claim) {
			return l.code, wire.Claim{RecipientX25519: base64.RawURLEncoding.EncodeToString(make([]byte, 31))}
		}, 0, wire.CodeMalformed},
		{"v1, no base64url", nil, func(l testLink, _ wire.Claim) (string, wire.Claim) {
			return l.code, wire.Claim{RecipientX25519: "+/" + strings.Repeat("A", 41)}
		}, 0, wire.CodeMalformed},
		{"v1, invite for an admin", func(c *wire.InviteCreate) { c.Role = "admin" }, func(l testLink, _ wire.Claim) (string, wire.Claim) {
			return l.code, v1Claim()
		}, 0, CodeV1Claim},
		{"v1, expired", func(c *wire.InviteCreate) { c.ExpiresAt = testNow.UnixMilli() + 1000 }, func(l testLink, _ wire.Claim) (string, wire.Claim) {
			return l.code, v1Claim()
		}, time.Second, wire.CodeExpired},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			l := w.link(w.asOwner, c.invite)
			code, body := l.code, l.claim(newKey(t), testNow)
			if c.claim != nil {
				code, body = c.claim(l, body)
			}
			_, _, err := w.Claim(t.Context(), code, body, testNow.Add(c.at))
			wantCode(t, err, c.code)
			if used := w.used(l.ID); (used == 1) != (c.code == "") {
				t.Errorf("%d uses burned, want one only if the claim succeeds", used)
			}
		})
	}
}

// TestFullMesh checks that a full mesh refuses new members, that its members stay and may
// claim again, and that the removal of a member frees a place.
func TestFullMesh(t *testing.T) {
	t.Parallel()
	w := setup(t)
	l := w.link(w.asOwner, func(c *wire.InviteCreate) { c.Uses = 100 })
	v, err := w.Get(t.Context(), w.mesh.ID)
	if err != nil {
		t.Fatal(err)
	}
	members := len(v.Members())
	w.room = func() int { return members + 2 }
	claim := func(key identity.KeyPair, at time.Time) error {
		_, _, err := w.Claim(t.Context(), l.code, l.claim(key, at), at)
		return err
	}
	first := newKey(t)
	if err := claim(first, testNow); err != nil {
		t.Fatal(err)
	}
	if err := claim(newKey(t), testNow); err != nil {
		t.Fatal(err)
	}
	used := w.used(l.ID)
	wantCode(t, claim(newKey(t), testNow), wire.CodeCapacity)
	token := tokenOf(t, w.payload(nil))
	w.register(token, nil)
	if _, err := w.Join(t.Context(), joinBody(token, nil, newKey(t)), testNow); !errors.Is(err, ErrFull) {
		t.Errorf("join: got error %v, want ErrFull", err)
	}
	if w.used(l.ID) != used {
		t.Error("a refused claim used the invite")
	}
	if err := claim(first, testNow); err != nil {
		t.Errorf("claimed again: %v", err)
	}
	if _, err := w.Remove(t.Context(), w.asOwner, first.Public(), testNow); err != nil {
		t.Fatal(err)
	}
	if err := claim(newKey(t), testNow); err != nil {
		t.Errorf("claim after a member was removed: %v", err)
	}
}

// TestClaimV1 checks that a v1 claim does not use up an invite, because the client
// couldn't use the answer.
func TestClaimV1(t *testing.T) {
	t.Parallel()
	w := setup(t)
	l := w.link(w.asOwner, func(c *wire.InviteCreate) { c.Uses = 1 })
	_, _, err := w.Claim(t.Context(), l.code, v1Claim(), testNow)
	wantCode(t, err, CodeV1Claim)
	if !strings.Contains(err.Error(), "v1 link") {
		t.Errorf("the error doesn't say what to ask for: %v", err)
	}
	if used := w.used(l.ID); used != 0 {
		t.Errorf("the invite was used %d times", used)
	}
	if _, _, err := w.Claim(t.Context(), l.code, l.claim(newKey(t), testNow), testNow); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.Claim(t.Context(), l.code, v1Claim(), testNow)
	wantCode(t, err, CodeExhausted)
}

// TestStorageFailuresAreNotRefusals checks that a caller can distinguish a refusal from a
// failure of the storage.
func TestStorageFailuresAreNotRefusals(t *testing.T) {
	t.Parallel()
	w := setup(t)
	l := w.link(w.asOwner, nil)
	token := tokenOf(t, w.payload(nil))
	w.register(token, nil)
	down := errors.New("connection refused")
	ctx, key := t.Context(), newKey(t)
	calls := map[string]func() error{
		"Redeem": func() error {
			_, err := w.Join(ctx, joinBody(token, nil, key), testNow)
			return err
		},
		"InviteByToken": func() error { _, err := w.Join(ctx, joinBody(token, nil, key), testNow); return err },
		"InviteByCode":  func() error { _, _, err := w.Claim(ctx, l.code, l.claim(key, testNow), testNow); return err },
		"AddInvite":     func() error { _, err := w.CreateInvite(ctx, w.asOwner, linkBody(t, key), testNow); return err },
		"Invites":       func() error { _, err := w.ListInvites(ctx, w.asOwner); return err },
		"RevokeInvite":  func() error { return w.RevokeInvite(ctx, w.asOwner, l.ID, testNow) },
		"UpdateMember":  func() error { _, err := w.Remove(ctx, w.asOwner, w.normalKey.Public(), testNow); return err },
		"Mesh":          func() error { w.Forget(w.mesh.ID); _, err := w.Get(ctx, w.mesh.ID); return err },
	}
	for method, call := range calls {
		w.store.setFault(func(m string, done bool) error {
			if m == method && !done {
				return down
			}
			return nil
		})
		err := call()
		var refusal *Refusal
		if !errors.Is(err, down) || errors.As(err, &refusal) {
			t.Errorf("%s: error %v, want the storage's own", method, err)
		}
		w.store.setFault(nil)
	}
}

// TestNewNames checks that a new name can look neither like another member's name nor like
// a key or a group, and that a refusal does not use up the invite.
func TestNewNames(t *testing.T) {
	t.Parallel()
	w := setup(t)
	l := w.link(w.asAdmin, func(c *wire.InviteCreate) { c.Uses = 2 })
	claim := func(name string, want wire.Code) {
		t.Helper()
		c := l.claim(newKey(t), testNow)
		c.DisplayName = name
		_, _, err := w.Claim(t.Context(), l.code, c, testNow)
		var refusal *Refusal
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", name, err)
		case want != "" && (!errors.As(err, &refusal) || refusal.Code != want):
			t.Errorf("%q: got %v, want %s", name, err, want)
		}
	}
	claim("Bob", "")
	for _, name := range []string{"Bob", "bob", " BOB ", "B\u043eb", "\uff22ob"} { // a Cyrillic о, a wide B
		claim(name, CodeNameTaken)
	}
	for _, name := range []string{"\u3164", "@all", "*", "#x", w.ownerKey.Public().String(), "deadbeef", "b\u200bo", strings.Repeat("x", wire.MaxNameLen+1)} {
		claim(name, CodeBadName)
	}
	claim("Robert", "")
	claim("Roberta", CodeExhausted)
}
