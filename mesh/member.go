package mesh

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Removed reports whether the member was removed from its mesh.
func (m *Member) Removed() bool { return !m.RemovedAt.IsZero() }

// CanAdmin reports whether the member is the owner or an admin and has not been
// removed.
func (m *Member) CanAdmin() bool {
	return !m.Removed() && (m.Role == Owner || m.Role == Admin)
}

// Allows reports whether m grants the capability to the member with the key sender. A
// member allows itself everything.
func (m *Member) Allows(sender wire.Key, capability string) bool {
	if sender == m.Key && !sender.IsZero() {
		return true
	}
	granted, named := m.Grants[sender]
	if !named {
		return knownCapability(capability)
	}
	return slices.Contains(granted, capability)
}

// Row returns the member as member_list shows it.
func (m *Member) Row() wire.MemberRow {
	return wire.MemberRow{
		ID:          m.ID,
		Pubkey:      m.Key,
		DisplayName: m.DisplayName,
		Role:        string(m.Role),
		JoinedAt:    wire.Time{Time: m.JoinedAt},
		Removed:     m.Removed(),
		Banned:      m.Banned,
	}
}

// knownCapability reports whether c is a capability. All are granted by default.
func knownCapability(c string) bool {
	return c == GrantRead || c == GrantDM || c == GrantBroadcast || c == GrantStateRead
}

// Actor is the member who makes a request. The rights that the member has when the
// request is executed count.
type Actor struct{ MeshID, MemberID wire.ID }

// SetRole makes the member with this key an admin or a normal member. It returns the
// member and its previous role. Only the owner may change roles, but not its own.
//
// Refusals: forbidden, invalid, not_found.
func (d *Directory) SetRole(ctx context.Context, a Actor, key wire.Key, role Role) (*Member, Role, error) {
	var was Role
	m, err := d.change(ctx, a, func(v *View, actor *Member) (Member, error) {
		if actor.Role != Owner {
			return Member{}, refuse(wire.CodeForbidden, "only the owner may change roles")
		}
		if role != Admin && role != Normal {
			return Member{}, refuse(wire.CodeInvalid, "role must be admin or member")
		}
		m, err := v.present(key)
		if err != nil {
			return Member{}, err
		}
		if m.Role == Owner {
			return Member{}, refuse(wire.CodeForbidden, "the owner's role can't be changed")
		}
		was = m.Role
		m.Role = role
		return m, nil
	})
	return m, was, err
}

// Remove removes the member with this key from the mesh for good, even if the member is
// banned. The owner and the admins may remove members; each member may remove itself,
// that is, leave. Nobody can remove the owner; only the owner can remove other admins.
// Removing a removed member isn't an error and doesn't change RemovedAt, so that a
// client can repeat a removal whose answer got lost.
//
// Refusals: forbidden, not_found.
func (d *Directory) Remove(ctx context.Context, a Actor, key wire.Key, now time.Time) (*Member, error) {
	return d.change(ctx, a, func(v *View, actor *Member) (Member, error) {
		m := *actor
		if actor.Key != key || actor.Role == Owner {
			var err error
			if m, err = barred(v, actor, key); err != nil {
				return m, err
			}
		}
		if !m.Removed() {
			m.RemovedAt = stamp(now)
		}
		m.Banned, m.BanReason = false, ""
		return m, nil
	})
}

// Ban bans the member with this key from the mesh until Unban. The rights are those of
// Remove. Banning a banned member changes only the reason.
//
// Refusals: forbidden, not_found, invalid (the member was removed for good).
func (d *Directory) Ban(ctx context.Context, a Actor, key wire.Key, reason string, now time.Time) (*Member, error) {
	return d.bar(ctx, a, key, func(m *Member) error {
		switch {
		case m.Removed() && !m.Banned:
			return refuse(wire.CodeInvalid, "invalid: that member was removed for good")
		case !m.Removed():
			m.RemovedAt = stamp(now)
		}
		m.Banned, m.BanReason = true, reason
		return nil
	})
}

// Unban ends the ban of a member, who keeps its role and grants. The rights are those of
// Remove.
//
// Refusals: forbidden, not_found, invalid (the member isn't banned).
func (d *Directory) Unban(ctx context.Context, a Actor, key wire.Key) (*Member, error) {
	return d.bar(ctx, a, key, func(m *Member) error {
		switch {
		case m.Removed() && !m.Banned:
			return refuse(wire.CodeInvalid, "invalid: that member was removed for good; invite it again with a new key")
		case !m.Banned:
			return refuse(wire.CodeInvalid, "invalid: that member isn't banned")
		}
		m.RemovedAt, m.Banned, m.BanReason = time.Time{}, false, ""
		return nil
	})
}

// bar removes, bans or unbans a member, as change does.
func (d *Directory) bar(ctx context.Context, a Actor, key wire.Key, change func(*Member) error) (*Member, error) {
	return d.change(ctx, a, func(v *View, actor *Member) (Member, error) {
		m, err := barred(v, actor, key)
		if err != nil {
			return m, err
		}
		return m, change(&m)
	})
}

// barred returns a copy of the member with this key if the actor may remove it.
func barred(v *View, actor *Member, key wire.Key) (Member, error) {
	if !actor.CanAdmin() {
		return Member{}, refuse(wire.CodeForbidden, "only the owner and admins may remove and ban members")
	}
	target, ok := v.Member(key)
	if !ok {
		return Member{}, refuseFor(wire.CodeNotFound, ErrMemberNotFound)
	}
	switch {
	case target.Role == Owner:
		return Member{}, refuse(wire.CodeForbidden, "the owner can't be removed")
	case target.ID == actor.ID:
		return Member{}, refuse(wire.CodeForbidden, "you can't ban yourself")
	case target.Role == Admin && actor.Role != Owner:
		return Member{}, refuse(wire.CodeForbidden, "only the owner may remove admins")
	}
	return *target, nil
}

// SetGrant sets the capabilities that the actor grants the member with the key other. An
// empty list blocks the member; toDefault restores the default.
//
// Refusals: forbidden, invalid, not_found.
func (d *Directory) SetGrant(ctx context.Context, a Actor, other wire.Key, capabilities []string, toDefault bool) (*Member, error) {
	return d.change(ctx, a, func(v *View, actor *Member) (Member, error) {
		if other == actor.Key {
			return Member{}, refuse(wire.CodeInvalid, "you can't grant capabilities to yourself")
		}
		// Accept removed members, too: a grant stays valid after a removal.
		if _, ok := v.Member(other); !ok {
			return Member{}, refuseFor(wire.CodeNotFound, ErrMemberNotFound)
		}
		for _, c := range capabilities {
			if !knownCapability(c) {
				return Member{}, refuse(wire.CodeInvalid, "capabilities must be among %s, %s, %s and %s", GrantRead, GrantDM, GrantBroadcast, GrantStateRead)
			}
		}
		m := *actor
		m.Grants = maps.Clone(actor.Grants)
		switch {
		case toDefault:
			delete(m.Grants, other)
			return m, nil
		case m.Grants == nil:
			m.Grants = make(map[wire.Key][]string)
		}
		granted := append([]string{}, capabilities...)
		slices.Sort(granted)
		m.Grants[other] = slices.Compact(granted)
		return m, nil
	})
}

var changeCodes = map[error]wire.Code{
	ErrMeshNotFound:   wire.CodeNotFound,
	ErrMemberNotFound: wire.CodeNotFound,
	ErrInviteNotFound: wire.CodeNotFound,
	ErrExists:         wire.CodeInvalid,
}

// change replaces one member by the result of decide, first in the Store and then in
// memory.
func (d *Directory) change(ctx context.Context, a Actor, decide func(v *View, actor *Member) (Member, error)) (*Member, error) {
	v, err := d.lock(ctx, a.MeshID)
	if err != nil {
		return nil, translate(err, changeCodes)
	}
	defer v.unlock()
	actor, err := v.actor(a)
	if err != nil {
		return nil, err
	}
	m, err := decide(v, actor)
	if err != nil {
		return nil, err
	}
	if err := v.checkedLocked(d.store.UpdateMember(ctx, m)); err != nil {
		return nil, translate(fmt.Errorf("update member: %w", err), changeCodes)
	}
	return v.putLocked(m), nil
}

// actor finds the member who makes the request, unless it was removed.
func (v *View) actor(a Actor) (*Member, error) {
	m, ok := v.MemberByID(a.MemberID)
	if !ok || m.Removed() {
		return nil, refuse(wire.CodeForbidden, "you aren't a member of this mesh")
	}
	return m, nil
}

// present returns a copy of a member who has not been removed.
func (v *View) present(key wire.Key) (Member, error) {
	m, ok := v.Member(key)
	if !ok || m.Removed() {
		return Member{}, refuseFor(wire.CodeNotFound, ErrMemberNotFound)
	}
	return *m, nil
}
