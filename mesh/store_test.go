package mesh

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// memStore is a Store in memory. If fault is set, memStore calls it before and after each
// operation; an error from fault makes the call fail there.
type memStore struct {
	mu      sync.Mutex
	fault   func(method string, done bool) error
	loads   int
	meshes  map[wire.ID]Mesh
	members map[wire.ID]Member
	invites map[wire.ID]Invite
}

func newMemStore() *memStore {
	return &memStore{
		meshes:  map[wire.ID]Mesh{},
		members: map[wire.ID]Member{},
		invites: map[wire.ID]Invite{},
	}
}

// do runs body under the lock, between the two calls of fault.
func (s *memStore) do(ctx context.Context, method string, body func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		if err := s.fault(method, false); err != nil {
			return err
		}
	}
	if err := body(); err != nil {
		return err
	}
	if s.fault != nil {
		return s.fault(method, true)
	}
	return nil
}

func (s *memStore) setFault(fault func(method string, done bool) error) {
	s.mu.Lock()
	s.fault = fault
	s.mu.Unlock()
}

func (s *memStore) CreateMesh(ctx context.Context, m Mesh, owner Member) error {
	return s.do(ctx, "CreateMesh", func() error {
		s.meshes[m.ID], s.members[owner.ID] = m, owner
		return nil
	})
}

func (s *memStore) Mesh(ctx context.Context, id wire.ID) (m Mesh, members []Member, err error) {
	err = s.do(ctx, "Mesh", func() error {
		s.loads++
		var ok bool
		if m, ok = s.meshes[id]; !ok {
			return ErrMeshNotFound
		}
		for _, member := range s.members {
			if member.MeshID == id {
				members = append(members, member)
			}
		}
		return nil
	})
	return m, members, err
}

func (s *memStore) AddInvite(ctx context.Context, inv Invite) error {
	return s.do(ctx, "AddInvite", func() error {
		for _, other := range s.invites {
			if other.Kind == inv.Kind && other.Code == inv.Code && other.TokenHash == inv.TokenHash {
				return ErrExists
			}
		}
		s.invites[inv.ID] = inv
		return nil
	})
}

func (s *memStore) findInvite(ctx context.Context, method string, match func(Invite) bool) (inv Invite, err error) {
	err = s.do(ctx, method, func() error {
		for _, inv = range s.invites {
			if match(inv) {
				return nil
			}
		}
		inv = Invite{}
		return ErrInviteNotFound
	})
	return inv, err
}

func (s *memStore) InviteByCode(ctx context.Context, code string) (Invite, error) {
	return s.findInvite(ctx, "InviteByCode", func(i Invite) bool { return i.Kind == Link && i.Code == code })
}

func (s *memStore) InviteByToken(ctx context.Context, hash [32]byte) (Invite, error) {
	return s.findInvite(ctx, "InviteByToken", func(i Invite) bool { return i.Kind == Token && i.TokenHash == hash })
}

func (s *memStore) Invites(ctx context.Context, meshID wire.ID) (list []Invite, err error) {
	err = s.do(ctx, "Invites", func() error {
		for _, inv := range s.invites {
			if inv.MeshID == meshID {
				list = append(list, inv)
			}
		}
		slices.SortFunc(list, func(a, b Invite) int { return b.CreatedAt.Compare(a.CreatedAt) })
		return nil
	})
	return list, err
}

func (s *memStore) RevokeInvite(ctx context.Context, meshID, inviteID wire.ID, at time.Time) error {
	return s.do(ctx, "RevokeInvite", func() error {
		inv, ok := s.invites[inviteID]
		if !ok || inv.MeshID != meshID {
			return ErrInviteNotFound
		}
		if inv.RevokedAt.IsZero() {
			inv.RevokedAt = at
		}
		s.invites[inviteID] = inv
		return nil
	})
}

// holderLocked returns the member with a key.
func (s *memStore) holderLocked(meshID wire.ID, key wire.Key) (Member, bool) {
	for _, m := range s.members {
		if m.MeshID == meshID && m.Key == key && !key.IsZero() {
			return m, true
		}
	}
	return Member{}, false
}

func (s *memStore) Redeem(ctx context.Context, inviteID wire.ID, m Member) (member Member, existed bool, err error) {
	err = s.do(ctx, "Redeem", func() error {
		if member, existed = s.holderLocked(m.MeshID, m.Key); existed {
			return nil
		}
		inv := s.invites[inviteID]
		switch {
		case !inv.RevokedAt.IsZero():
			return ErrInviteRevoked
		case !m.JoinedAt.Before(inv.ExpiresAt):
			return ErrInviteExpired
		case inv.Used >= inv.Uses:
			return ErrInviteExhausted
		}
		inv.Used++
		s.invites[inviteID], s.members[m.ID] = inv, m
		member = m
		return nil
	})
	return member, existed, err
}

func (s *memStore) UpdateMember(ctx context.Context, m Member) error {
	return s.do(ctx, "UpdateMember", func() error {
		old, ok := s.members[m.ID]
		if !ok {
			return ErrMemberNotFound
		}
		old.DisplayName, old.Role, old.Groups, old.RemovedAt, old.Grants = m.DisplayName, m.Role, m.Groups, m.RemovedAt, m.Grants
		old.Banned, old.BanReason = m.Banned, m.BanReason
		s.members[m.ID] = old
		return nil
	})
}
