package mesh

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

func TestCreateInvite(t *testing.T) {
	t.Parallel()
	proof := strings.Repeat("ab", 32)
	asToken := func(c *wire.InviteCreate) {
		c.Code, c.ClaimPubkey, c.SealedRootKey, c.TokenProof = "", "", "", proof
	}
	year := 366 * 24 * time.Hour
	cases := []struct {
		name   string
		actor  func(*world) Actor
		adjust func(*wire.InviteCreate)
		code   wire.Code
	}{
		{"link by the owner", owner, nil, ""},
		{"link by an admin", asAdmin, nil, ""},
		{"token by the owner", owner, asToken, ""},
		{"admin link by the owner", owner, func(c *wire.InviteCreate) { c.Role = "admin" }, ""},
		{"longest", owner, func(c *wire.InviteCreate) {
			c.Uses, c.ExpiresAt, c.Code = 10_000, testNow.Add(year).UnixMilli(), strings.Repeat("-", 64)
			c.SealedRootKey = strings.Repeat("_", 2048)
		}, ""},
		{"shortest", owner, func(c *wire.InviteCreate) {
			c.Uses, c.ExpiresAt, c.Code, c.Groups = 1, testNow.UnixMilli()+1, strings.Repeat("Z", 16), nil
		}, ""},

		{"link by a member", asNormal, nil, wire.CodeForbidden},
		{"link by a stranger", nobody, nil, wire.CodeForbidden},
		{"admin link by an admin", asAdmin, func(c *wire.InviteCreate) { c.Role = "admin" }, wire.CodeForbidden},
		{"token by an admin", asAdmin, asToken, wire.CodeForbidden},
		{"unknown mesh", func(w *world) Actor { return Actor{wire.ID{9}, w.owner.ID} }, nil, wire.CodeNotFound},

		{"role owner", owner, func(c *wire.InviteCreate) { c.Role = "owner" }, wire.CodeInvalid},
		{"no role", owner, func(c *wire.InviteCreate) { c.Role = "" }, wire.CodeInvalid},
		{"no uses", owner, func(c *wire.InviteCreate) { c.Uses = 0 }, wire.CodeInvalid},
		{"too many uses", owner, func(c *wire.InviteCreate) { c.Uses = 10_001 }, wire.CodeInvalid},
		{"expired", owner, func(c *wire.InviteCreate) { c.ExpiresAt = testNow.UnixMilli() }, wire.CodeInvalid},
		{"too long", owner, func(c *wire.InviteCreate) { c.ExpiresAt = testNow.Add(year).UnixMilli() + 1 }, wire.CodeInvalid},
		{"bad group", owner, func(c *wire.InviteCreate) { c.Groups = []wire.Group{{Name: "a//b"}} }, wire.CodeInvalid},
		{"group twice", owner, func(c *wire.InviteCreate) { c.Groups = []wire.Group{{Name: "a"}, {Name: "a"}} }, wire.CodeInvalid},
		{"bad group role", owner, func(c *wire.InviteCreate) { c.Groups = []wire.Group{{Name: "a", Role: "x\ny"}} }, wire.CodeInvalid},
		{"too many groups", owner, func(c *wire.InviteCreate) {
			for i := range 65 {
				c.Groups = append(c.Groups, wire.Group{Name: fmt.Sprint("g", i)})
			}
		}, wire.CodeInvalid},
		{"short code", owner, func(c *wire.InviteCreate) { c.Code = strings.Repeat("a", 15) }, wire.CodeInvalid},
		{"long code", owner, func(c *wire.InviteCreate) { c.Code = strings.Repeat("a", 65) }, wire.CodeInvalid},
		{"code with a path", owner, func(c *wire.InviteCreate) { c.Code = "aaaaaaaaaaaaaaa/" }, wire.CodeInvalid},
		{"no code", owner, func(c *wire.InviteCreate) { c.Code = "" }, wire.CodeInvalid},
		{"no claim key", owner, func(c *wire.InviteCreate) { c.ClaimPubkey = "" }, wire.CodeInvalid},
		{"zero claim key", owner, func(c *wire.InviteCreate) { c.ClaimPubkey = wire.Key{}.String() }, wire.CodeInvalid},
		{"no sealed key", owner, func(c *wire.InviteCreate) { c.SealedRootKey = "" }, wire.CodeInvalid},
		{"sealed key with other characters", owner, func(c *wire.InviteCreate) { c.SealedRootKey = "a+b/" }, wire.CodeInvalid},
		{"long sealed key", owner, func(c *wire.InviteCreate) { c.SealedRootKey = strings.Repeat("a", 2049) }, wire.CodeInvalid},
		{"both kinds", owner, func(c *wire.InviteCreate) { c.TokenProof = proof }, wire.CodeInvalid},
		{"neither kind", owner, func(c *wire.InviteCreate) { asToken(c); c.TokenProof = "" }, wire.CodeInvalid},
		{"short proof", owner, func(c *wire.InviteCreate) { asToken(c); c.TokenProof = proof[1:] }, wire.CodeInvalid},
		{"proof in upper case", owner, func(c *wire.InviteCreate) { asToken(c); c.TokenProof = strings.ToUpper(proof) }, wire.CodeInvalid},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			before := len(w.store.invites)
			body := linkBody(t, newKey(t))
			if c.adjust != nil {
				c.adjust(&body)
			}
			inv, err := w.CreateInvite(t.Context(), c.actor(w), body, testNow)
			wantCode(t, err, c.code)
			if c.code != "" {
				if len(w.store.invites) != before {
					t.Error("a refused invite was stored")
				}
				return
			}
			if inv.MeshID != w.mesh.ID || inv.CreatedBy != c.actor(w).MemberID || !inv.CreatedAt.Equal(testNow) ||
				string(inv.Role) != body.Role || inv.ExpiresAt.UnixMilli() != body.ExpiresAt || inv.Code != body.Code {
				t.Errorf("invite %+v", inv)
			}
			_, err = w.CreateInvite(t.Context(), c.actor(w), body, testNow)
			wantCode(t, err, wire.CodeInvalid)
			if !errors.Is(err, ErrExists) {
				t.Errorf("the same invite again: got error %v, want ErrExists", err)
			}
		})
	}
}

func TestListInvites(t *testing.T) {
	t.Parallel()
	w := setup(t)
	l := w.link(w.asAdmin, nil)
	list, err := w.ListInvites(t.Context(), w.asAdmin)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d invites, error %v; want 4", len(list), err)
	}
	for _, inv := range list {
		if row := inv.Row(); inv.ID == l.ID && (row.Kind != "link" || row.Uses != 3 || row.Used != 0 || row.CreatedBy != w.asAdmin.MemberID || row.Revoked) {
			t.Errorf("row %+v", row)
		}
	}
	for _, a := range []Actor{w.asNormal, nobody(w)} {
		_, err := w.ListInvites(t.Context(), a)
		wantCode(t, err, wire.CodeForbidden)
	}
}

func TestRevokeInvite(t *testing.T) {
	t.Parallel()
	w := setup(t)
	l := w.link(w.asOwner, nil)
	for _, a := range []Actor{w.asNormal, nobody(w)} {
		wantCode(t, w.RevokeInvite(t.Context(), a, l.ID, testNow), wire.CodeForbidden)
	}
	wantCode(t, w.RevokeInvite(t.Context(), w.asAdmin, wire.ID{1}, testNow), wire.CodeNotFound)

	other, owner, err := w.Create(t.Context(), createBody(newKey(t), testNow, nil), testNow)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.RevokeInvite(t.Context(), Actor{other.ID, owner.ID}, l.ID, testNow), wire.CodeNotFound)
	if _, err := w.InviteInfo(t.Context(), l.code, testNow); err != nil {
		t.Errorf("the invite no longer works after refused revocations: %v", err)
	}

	for range 2 {
		wantCode(t, w.RevokeInvite(t.Context(), w.asAdmin, l.ID, testNow), "")
	}
	_, _, err = w.Claim(t.Context(), l.code, l.claim(newKey(t), testNow), testNow)
	wantCode(t, err, wire.CodeRevoked)
	list, _ := w.ListInvites(t.Context(), w.asOwner)
	for _, inv := range list {
		if row := inv.Row(); row.Revoked != (inv.ID == l.ID) {
			t.Errorf("row %+v", row)
		}
	}
}

func TestInviteInfo(t *testing.T) {
	t.Parallel()
	w := setup(t)
	l := w.link(w.asAdmin, func(c *wire.InviteCreate) { c.Uses = 1 })
	info, err := w.InviteInfo(t.Context(), l.code, testNow)
	if err != nil || info.MeshName != w.mesh.Name || info.MeshSlug != w.mesh.Slug || !strings.HasPrefix(info.Inviter, "Newcomer") ||
		info.Role != Normal || len(info.Groups) != 1 || !info.ExpiresAt.Equal(testNow.Add(time.Hour)) {
		t.Errorf("info %+v, error %v", info, err)
	}
	if _, err = w.InviteInfo(t.Context(), l.code, l.ExpiresAt.Add(-time.Millisecond)); err != nil {
		t.Errorf("just before it expires: %v", err)
	}
	_, err = w.InviteInfo(t.Context(), l.code, l.ExpiresAt)
	wantCode(t, err, wire.CodeExpired)
	for _, code := range []string{"", "short", "0123456789abcdefgh", "../../../etc/passwd", w.mesh.ID.String()} {
		_, err = w.InviteInfo(t.Context(), code, testNow)
		wantCode(t, err, wire.CodeNotFound)
	}
	if _, _, err := w.Claim(t.Context(), l.code, l.claim(newKey(t), testNow), testNow); err != nil {
		t.Fatal(err)
	}
	_, err = w.InviteInfo(t.Context(), l.code, testNow)
	wantCode(t, err, CodeExhausted)
	wantCode(t, w.RevokeInvite(t.Context(), w.asOwner, l.ID, testNow), "")
	_, err = w.InviteInfo(t.Context(), l.code, testNow)
	wantCode(t, err, wire.CodeRevoked)
}

// TestInvitesDieWithTheirMakersRights checks that the invites of a removed or demoted
// member admit nobody, not even the member itself with a new key.
func TestInvitesDieWithTheirMakersRights(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		end  func(*world) error
	}{
		{"removed", func(w *world) error {
			_, err := w.Remove(t.Context(), w.asOwner, w.adminKey.Public(), testNow)
			return err
		}},
		{"demoted", func(w *world) error {
			_, _, err := w.SetRole(t.Context(), w.asOwner, w.adminKey.Public(), Normal)
			return err
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := setup(t)
			l, early := w.link(w.asAdmin, nil), newKey(t)
			if _, _, err := w.Claim(t.Context(), l.code, l.claim(early, testNow), testNow); err != nil {
				t.Fatal(err)
			}
			if err := c.end(w); err != nil {
				t.Fatal(err)
			}
			_, _, err := w.Claim(t.Context(), l.code, l.claim(newKey(t), testNow), testNow)
			wantCode(t, err, wire.CodeRevoked)
			_, _, err = w.Claim(t.Context(), l.code, v1Claim(), testNow)
			wantCode(t, err, wire.CodeRevoked)
			_, err = w.InviteInfo(t.Context(), l.code, testNow)
			wantCode(t, err, wire.CodeRevoked)
			if res, _, err := w.Claim(t.Context(), l.code, l.claim(early, testNow), testNow); err != nil || !res.AlreadyMember {
				t.Errorf("a member who joined before: %+v, %v", res, err)
			}
		})
	}
}
