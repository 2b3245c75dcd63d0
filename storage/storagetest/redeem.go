package storagetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

func testRedeem(t *testing.T, db Database) {
	s := ready(t, db)
	ctx := t.Context()
	m, owner := newMesh(t, s)
	v := token(m.ID, 2)
	check(t, s.AddInvite(ctx, v))

	joined := member(m.ID)
	joined.Groups = []wire.Group{{Name: "dev"}}
	for i := range 3 { // only the first redemption with a key burns a use
		again := joined
		if i > 0 {
			again.ID, again.DisplayName = newID(), "somebody else"
		}
		got, existed, err := s.Redeem(ctx, v.ID, again)
		check(t, err)
		equal(t, "existed", existed, i > 0)
		equal(t, "member", got, joined)
	}
	equal(t, "used", must[mesh.Invite](t)(s.InviteByToken(ctx, v.TokenHash)).Used, 1)

	removed := joined
	removed.RemovedAt = now
	check(t, s.UpdateMember(ctx, removed))
	got, existed, err := s.Redeem(ctx, v.ID, joined)
	check(t, err)
	if !existed {
		t.Error("a removed member joined again")
	}
	equal(t, "removed member", got, removed)

	refused := func(name string, v mesh.Invite, at time.Time, want error) {
		t.Helper()
		late := member(v.MeshID)
		late.JoinedAt = at
		if _, _, err := s.Redeem(ctx, v.ID, late); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		late.Key = owner.Key
		if _, existed, err := s.Redeem(ctx, v.ID, late); err != nil || !existed {
			t.Errorf("%s, for a member: existed %v, %v", name, existed, err)
		}
	}
	refused("at the expiry", v, v.ExpiresAt, mesh.ErrInviteExpired)
	refused("after the expiry", v, v.ExpiresAt.Add(time.Hour), mesh.ErrInviteExpired)
	last := member(m.ID)
	last.JoinedAt = v.ExpiresAt.Add(-time.Millisecond)
	if _, existed, err := s.Redeem(ctx, v.ID, last); err != nil || existed {
		t.Fatalf("just before the expiry: existed %v, %v", existed, err)
	}
	refused("used up", v, now, mesh.ErrInviteExhausted)
	revoked := token(m.ID, 5)
	check(t, s.AddInvite(ctx, revoked))
	check(t, s.RevokeInvite(ctx, m.ID, revoked.ID, now))
	refused("revoked", revoked, now, mesh.ErrInviteRevoked)
	equal(t, "used after refusals", must[mesh.Invite](t)(s.InviteByToken(ctx, revoked.TokenHash)).Used, 0)

	other, _ := newMesh(t, s)
	for name, id := range map[string][2]wire.ID{"unknown invite": {newID(), m.ID}, "invite of another mesh": {v.ID, other.ID}} {
		if _, _, err := s.Redeem(ctx, id[0], member(id[1])); !errors.Is(err, mesh.ErrInviteNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, members := loadMesh(t, s, m.ID)
	equal(t, "number of members", len(members), 3)
}

// redeemAll redeems for all members at once and counts the results.
func redeemAll(t *testing.T, s Store, pick func(i int) (wire.ID, mesh.Member), n int) (joined, existed, exhausted int, members map[wire.ID]bool) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	members = map[wire.ID]bool{}
	start := make(chan struct{})
	for i := range n {
		invite, m := pick(i)
		wg.Go(func() {
			<-start
			got, known, err := s.Redeem(t.Context(), invite, m)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, mesh.ErrInviteExhausted):
				exhausted++
			case err != nil:
				t.Error(err)
			case known:
				existed++
				members[got.ID] = true
			default:
				joined++
				members[got.ID] = true
			}
		})
	}
	close(start)
	wg.Wait()
	return joined, existed, exhausted, members
}

func testRedeemConcurrently(t *testing.T, db Database) {
	s := ready(t, db)
	m, _ := newMesh(t, s)
	v := token(m.ID, 3)
	check(t, s.AddInvite(t.Context(), v))
	joined, existed, exhausted, _ := redeemAll(t, s, func(int) (wire.ID, mesh.Member) { return v.ID, member(m.ID) }, 20)
	equal(t, "joined, existed, exhausted", [3]int{joined, existed, exhausted}, [3]int{3, 0, 17})
	_, members := loadMesh(t, s, m.ID)
	equal(t, "members with the owner", len(members), 4)
	equal(t, "used", must[mesh.Invite](t)(s.InviteByToken(t.Context(), v.TokenHash)).Used, 3)
}

func testRedeemOneKey(t *testing.T, db Database) {
	s := ready(t, db)
	m, _ := newMesh(t, s)
	v := token(m.ID, 10)
	check(t, s.AddInvite(t.Context(), v))
	key := newKey()
	joined, existed, _, ids := redeemAll(t, s, func(int) (wire.ID, mesh.Member) {
		one := member(m.ID)
		one.Key = key
		return v.ID, one
	}, 10)
	equal(t, "joined, existed, members", [3]int{joined, existed, len(ids)}, [3]int{1, 9, 1})
	_, members := loadMesh(t, s, m.ID)
	equal(t, "members with the owner", len(members), 2)
	equal(t, "used", must[mesh.Invite](t)(s.InviteByToken(t.Context(), v.TokenHash)).Used, 1)
}

func testRedeemTwoInvites(t *testing.T, db Database) {
	s := ready(t, db)
	m, _ := newMesh(t, s)
	a, b := token(m.ID, 10), token(m.ID, 10)
	check(t, s.AddInvite(t.Context(), a))
	check(t, s.AddInvite(t.Context(), b))
	key := newKey()
	joined, existed, _, ids := redeemAll(t, s, func(i int) (wire.ID, mesh.Member) {
		one := member(m.ID)
		one.Key = key
		return []wire.ID{a.ID, b.ID}[i%2], one
	}, 12)
	equal(t, "joined, existed, members", [3]int{joined, existed, len(ids)}, [3]int{1, 11, 1})
	used := must[mesh.Invite](t)(s.InviteByToken(t.Context(), a.TokenHash)).Used +
		must[mesh.Invite](t)(s.InviteByToken(t.Context(), b.TokenHash)).Used
	equal(t, "used", used, 1)
}
