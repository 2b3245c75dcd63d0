package storagetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

func loadMesh(t testing.TB, s Store, id wire.ID) (mesh.Mesh, []mesh.Member) {
	t.Helper()
	m, members, err := s.Mesh(t.Context(), id)
	check(t, err)
	return m, members
}

func testMeshes(t *testing.T, db Database) {
	s := ready(t, db)
	m, owner := newMesh(t, s)
	other, otherOwner := newMesh(t, s) // the same slug and name: only the id is unique

	got, members := loadMesh(t, s, m.ID)
	equal(t, "mesh", got, m)
	equal(t, "members", members, []mesh.Member{owner})
	got, members = loadMesh(t, s, other.ID)
	equal(t, "other mesh", got, other)
	equal(t, "other members", members, []mesh.Member{otherOwner})

	if _, _, err := s.Mesh(t.Context(), newID()); !errors.Is(err, mesh.ErrMeshNotFound) {
		t.Errorf("unknown mesh: %v", err)
	}
	if err := s.CreateMesh(t.Context(), m, member(m.ID)); !errors.Is(err, mesh.ErrExists) {
		t.Errorf("a mesh twice: %v", err)
	}
	// In one step: when the owner can't be stored, the mesh isn't either.
	third := mesh.Mesh{ID: newID(), Slug: "x", Name: "x", Owner: newKey(), CreatedAt: now}
	taken := owner
	taken.MeshID = third.ID
	if err := s.CreateMesh(t.Context(), third, taken); !errors.Is(err, mesh.ErrExists) {
		t.Errorf("a member twice: %v", err)
	}
	if _, _, err := s.Mesh(t.Context(), third.ID); !errors.Is(err, mesh.ErrMeshNotFound) {
		t.Errorf("mesh without its owner: %v", err)
	}
}

func testMembers(t *testing.T, db Database) {
	s := ready(t, db)
	m, owner := newMesh(t, s)
	full := owner
	full.DisplayName, full.Role = "Łukasz", mesh.Admin
	full.Groups = []wire.Group{{Name: "dev", Role: "lead"}, {Name: "ops"}}
	full.RemovedAt, full.Banned, full.BanReason = now.Add(time.Minute), true, "spam ⏳"
	full.Grants = map[wire.Key][]string{newKey(): {mesh.GrantDM, mesh.GrantRead}, newKey(): {}}
	check(t, s.UpdateMember(t.Context(), full))
	_, members := loadMesh(t, s, m.ID)
	equal(t, "updated and removed member", members, []mesh.Member{full})

	// UpdateMember leaves the other fields unchanged.
	changed := full
	changed.Key, changed.JoinedAt = newKey(), now.Add(time.Hour)
	check(t, s.UpdateMember(t.Context(), changed))
	_, members = loadMesh(t, s, m.ID)
	equal(t, "member after an update of other fields", members, []mesh.Member{full})

	check(t, s.UpdateMember(t.Context(), owner))
	_, members = loadMesh(t, s, m.ID)
	equal(t, "member set back", members, []mesh.Member{owner})

	other, _ := newMesh(t, s)
	for name, missing := range map[string]mesh.Member{"unknown": member(m.ID), "of another mesh": {ID: owner.ID, MeshID: other.ID, Role: mesh.Normal}} {
		if err := s.UpdateMember(t.Context(), missing); !errors.Is(err, mesh.ErrMemberNotFound) {
			t.Errorf("member %s: %v", name, err)
		}
	}
}

func testInvites(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	m, owner := newMesh(t, s)
	link := mesh.Invite{ID: newID(), MeshID: m.ID, Kind: mesh.Link, Code: "AbC123", ClaimKey: newKey(), SealedRootKey: "b3BhcXVl",
		Role: mesh.Admin, Groups: []wire.Group{{Name: "dev"}}, Uses: 7, ExpiresAt: now.Add(time.Hour), CreatedAt: now, CreatedBy: owner.ID}
	tok := token(m.ID, 1)
	tok.CreatedAt = now.Add(-time.Minute)
	second := token(m.ID, 1) // two invites without a code do not clash
	second.CreatedAt = now.Add(time.Minute)
	for _, v := range []mesh.Invite{link, tok, second} {
		check(t, s.AddInvite(ctx, v))
	}
	equal(t, "by code", must[mesh.Invite](t)(s.InviteByCode(ctx, link.Code)), link)
	equal(t, "by token", must[mesh.Invite](t)(s.InviteByToken(ctx, tok.TokenHash)), tok)
	equal(t, "newest first", must[[]mesh.Invite](t)(s.Invites(ctx, m.ID)), []mesh.Invite{second, link, tok})

	sameCode, sameToken := link, tok
	sameCode.ID, sameToken.ID = newID(), newID()
	for name, v := range map[string]mesh.Invite{"code": sameCode, "token": sameToken} {
		if err := s.AddInvite(ctx, v); !errors.Is(err, mesh.ErrExists) {
			t.Errorf("a %s twice: %v", name, err)
		}
	}
	if err := s.AddInvite(ctx, token(newID(), 1)); !errors.Is(err, mesh.ErrMeshNotFound) {
		t.Errorf("invite to an unknown mesh: %v", err)
	}
	for _, code := range []string{"abc123", "", "nope"} {
		if _, err := s.InviteByCode(ctx, code); !errors.Is(err, mesh.ErrInviteNotFound) {
			t.Errorf("code %q: %v", code, err)
		}
	}
	if _, err := s.InviteByToken(ctx, [32]byte{}); !errors.Is(err, mesh.ErrInviteNotFound) {
		t.Errorf("unknown token: %v", err)
	}

	// A second revocation does not change the time of the first.
	check(t, s.RevokeInvite(ctx, m.ID, link.ID, now.Add(time.Minute)))
	check(t, s.RevokeInvite(ctx, m.ID, link.ID, now.Add(time.Hour)))
	link.RevokedAt = now.Add(time.Minute)
	equal(t, "revoked", must[mesh.Invite](t)(s.InviteByCode(ctx, link.Code)), link)
	other, _ := newMesh(t, s)
	for name, id := range map[string][2]wire.ID{"unknown": {m.ID, newID()}, "of another mesh": {other.ID, tok.ID}} {
		if err := s.RevokeInvite(ctx, id[0], id[1], now); !errors.Is(err, mesh.ErrInviteNotFound) {
			t.Errorf("revoke an invite %s: %v", name, err)
		}
	}
	equal(t, "not revoked", must[mesh.Invite](t)(s.InviteByToken(ctx, tok.TokenHash)), tok)
	equal(t, "invites of another mesh", len(must[[]mesh.Invite](t)(s.Invites(ctx, other.ID))), 0)

	for i := range 501 {
		v := token(other.ID, 1)
		v.CreatedAt = now.Add(time.Duration(i) * time.Millisecond)
		check(t, s.AddInvite(ctx, v))
	}
	list := must[[]mesh.Invite](t)(s.Invites(ctx, other.ID))
	newestFirst := slices.IsSortedFunc(list, func(a, b mesh.Invite) int { return b.CreatedAt.Compare(a.CreatedAt) })
	if len(list) != 500 || !newestFirst || !list[0].CreatedAt.Equal(now.Add(500*time.Millisecond)) {
		t.Errorf("%d invites listed, newest first is %v, from %s", len(list), newestFirst, list[0].CreatedAt)
	}
}
