package mesh

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Limits of an invite.
const (
	maxInviteUses = 10_000
	maxInviteLife = 366 * 24 * time.Hour

	minCodeLen   = 16
	maxCodeLen   = 64
	maxSealedLen = 2048 // bytes of a sealed mesh key in base64url
)

// Row returns the invite as invite_list shows it, without the secret that opens it.
func (i *Invite) Row() wire.InviteRow {
	return wire.InviteRow{
		ID:        i.ID,
		Kind:      string(i.Kind),
		Role:      string(i.Role),
		Uses:      i.Uses,
		Used:      i.Used,
		ExpiresAt: wire.Time{Time: i.ExpiresAt},
		Revoked:   !i.RevokedAt.IsZero(),
		CreatedBy: i.CreatedBy,
	}
}

// CreateInvite registers an invite: a link or a v1 token. The owner and admins may
// invite. Only the owner may invite admins and create tokens, since the owner's key
// signs tokens.
//
// Refusals: forbidden, invalid (also if the code or token exists).
func (d *Directory) CreateInvite(ctx context.Context, a Actor, c wire.InviteCreate, now time.Time) (Invite, error) {
	actor, err := d.admin(ctx, a)
	if err != nil {
		return Invite{}, err
	}
	inv, err := readInvite(c, now)
	if err != nil {
		return Invite{}, err
	}
	if actor.Role != Owner && (inv.Role == Admin || inv.Kind == Token) {
		return Invite{}, refuse(wire.CodeForbidden, "only the owner may invite admins and create v1 invites")
	}
	inv.ID = d.ids.New(now)
	inv.MeshID = a.MeshID
	inv.CreatedAt = stamp(now)
	inv.CreatedBy = actor.ID
	if err := d.store.AddInvite(ctx, inv); err != nil {
		return Invite{}, translate(fmt.Errorf("add invite: %w", err), changeCodes)
	}
	return inv, nil
}

// ListInvites returns the mesh's newest invites, at most 500. Only the owner and admins
// may list them.
//
// Refusals: forbidden.
func (d *Directory) ListInvites(ctx context.Context, a Actor) ([]Invite, error) {
	if _, err := d.admin(ctx, a); err != nil {
		return nil, err
	}
	list, err := d.store.Invites(ctx, a.MeshID)
	if err != nil {
		return nil, fmt.Errorf("list invites: %w", err)
	}
	return list, nil
}

// RevokeInvite revokes an invite at now. Only the owner and admins may revoke invites.
// Revoking an invite twice isn't an error.
//
// Refusals: forbidden, not_found.
func (d *Directory) RevokeInvite(ctx context.Context, a Actor, inviteID wire.ID, now time.Time) error {
	if _, err := d.admin(ctx, a); err != nil {
		return err
	}
	if err := d.store.RevokeInvite(ctx, a.MeshID, inviteID, stamp(now)); err != nil {
		return translate(fmt.Errorf("revoke invite: %w", err), changeCodes)
	}
	return nil
}

// InviteInfo is what the page of an invite link shows.
type InviteInfo struct {
	MeshID    wire.ID
	MeshName  string
	MeshSlug  string
	Inviter   string // display name
	Role      Role
	Groups    []wire.Group
	ExpiresAt time.Time
}

// InviteInfo describes the link with this code if it is valid at now.
//
// Refusals: not_found, revoked, expired, exhausted.
func (d *Directory) InviteInfo(ctx context.Context, code string, now time.Time) (InviteInfo, error) {
	inv, v, err := d.link(ctx, code)
	if err != nil {
		return InviteInfo{}, err
	}
	if err := v.usable(inv, now); err != nil {
		return InviteInfo{}, translate(err, claimCodes)
	}
	info := InviteInfo{
		MeshID:    v.mesh.ID,
		MeshName:  v.mesh.Name,
		MeshSlug:  v.mesh.Slug,
		Role:      inv.Role,
		Groups:    inv.Groups,
		ExpiresAt: inv.ExpiresAt,
	}
	if maker, ok := v.MemberByID(inv.CreatedBy); ok {
		info.Inviter = maker.DisplayName
	}
	return info, nil
}

// link finds a link and its mesh.
func (d *Directory) link(ctx context.Context, code string) (Invite, *View, error) {
	if !validCode(code) {
		return Invite{}, nil, refuseFor(wire.CodeNotFound, ErrInviteNotFound)
	}
	inv, err := d.store.InviteByCode(ctx, code)
	if err != nil {
		return Invite{}, nil, translate(fmt.Errorf("find invite: %w", err), claimCodes)
	}
	v, err := d.Get(ctx, inv.MeshID)
	if err != nil {
		return Invite{}, nil, translate(err, claimCodes)
	}
	return inv, v, nil
}

// admin returns the actor if it is the owner or an admin. The check and the caller's
// next step need not be atomic: an invite loses its validity with its creator's rights.
func (d *Directory) admin(ctx context.Context, a Actor) (*Member, error) {
	v, err := d.Get(ctx, a.MeshID)
	if err != nil {
		return nil, translate(err, changeCodes)
	}
	actor, err := v.actor(a)
	if err != nil {
		return nil, err
	}
	if !actor.CanAdmin() {
		return nil, refuse(wire.CodeForbidden, "only the owner and admins may manage invites")
	}
	return actor, nil
}

// usable returns the first of ErrInviteRevoked, ErrInviteExpired and ErrInviteExhausted
// that applies to the invite. An invite counts as revoked if its creator has lost the
// right to create it.
func (v *View) usable(inv Invite, now time.Time) error {
	maker, ok := v.MemberByID(inv.CreatedBy)
	entitled := ok && maker.CanAdmin() &&
		(maker.Role == Owner || inv.Role == Normal && inv.Kind == Link)
	switch {
	case !inv.RevokedAt.IsZero() || !entitled:
		return ErrInviteRevoked
	case !now.Before(inv.ExpiresAt):
		return ErrInviteExpired
	case inv.Used >= inv.Uses:
		return ErrInviteExhausted
	}
	return nil
}

// readInvite checks everything about a new invite except its creator's rights.
func readInvite(c wire.InviteCreate, now time.Time) (Invite, error) {
	inv := Invite{Role: Role(c.Role), Groups: c.Groups, Uses: c.Uses, ExpiresAt: time.UnixMilli(c.ExpiresAt).UTC()}
	ms := now.UnixMilli()
	switch {
	case inv.Role != Admin && inv.Role != Normal:
		return Invite{}, refuse(wire.CodeInvalid, "role must be admin or member")
	case c.Uses < 1 || c.Uses > maxInviteUses:
		return Invite{}, refuse(wire.CodeInvalid, "uses must be 1-%d", maxInviteUses)
	case c.ExpiresAt <= ms || c.ExpiresAt > ms+maxInviteLife.Milliseconds():
		return Invite{}, refuse(wire.CodeInvalid, "expiresAt must be in the future, at most 366 days ahead")
	}
	if err := checkGroups(c.Groups); err != nil {
		return Invite{}, err
	}
	isLink := c.Code != "" || c.ClaimPubkey != "" || c.SealedRootKey != ""
	if isLink == (c.TokenProof != "") {
		return Invite{}, refuse(wire.CodeInvalid, "an invite must be either a link (code, claimPubkey, sealedRootKey) or a token (tokenProof)")
	}
	if isLink {
		return readLink(inv, c)
	}
	proof, err := parseProof(c.TokenProof)
	if err != nil {
		return Invite{}, refuse(wire.CodeInvalid, "tokenProof %s", err)
	}
	inv.Kind, inv.TokenHash = Token, hashProof(proof)
	return inv, nil
}

func readLink(inv Invite, c wire.InviteCreate) (Invite, error) {
	key, err := wire.ParseKey(c.ClaimPubkey)
	switch {
	case !validCode(c.Code):
		return Invite{}, refuse(wire.CodeInvalid, "code must be %d-%d of A-Z, a-z, 0-9, '_' and '-'", minCodeLen, maxCodeLen)
	case err != nil || key.IsZero():
		return Invite{}, refuse(wire.CodeInvalid, "claimPubkey %s", wire.ErrBadKey)
	case c.SealedRootKey == "" || len(c.SealedRootKey) > maxSealedLen || !isURLSafe(c.SealedRootKey):
		return Invite{}, refuse(wire.CodeInvalid, "sealedRootKey must be 1-%d bytes of base64url", maxSealedLen)
	}
	inv.Kind, inv.Code, inv.ClaimKey, inv.SealedRootKey = Link, c.Code, key, c.SealedRootKey
	return inv, nil
}

func checkGroups(groups []wire.Group) error {
	if len(groups) > wire.MaxGroups {
		return refuse(wire.CodeInvalid, "groups must be at most %d", wire.MaxGroups)
	}
	seen := make(map[string]bool, len(groups))
	for _, g := range groups {
		if !wire.ValidGroup(g.Name) || seen[g.Name] || g.Role != "" && !validName(g.Role) {
			return refuse(wire.CodeInvalid, "groups must have valid, distinct names and roles of at most %d bytes", wire.MaxNameLen)
		}
		seen[g.Name] = true
	}
	return nil
}

func validCode(s string) bool {
	return len(s) >= minCodeLen && len(s) <= maxCodeLen && isURLSafe(s)
}

// parseProof reads the proof of a token, the SHA-256 of its text: 64 lower-case hex
// digits, like a key.
func parseProof(s string) ([sha256.Size]byte, error) {
	proof, err := wire.ParseKey(s)
	return proof, err
}

// hashProof returns Invite.TokenHash for a token's proof.
func hashProof(proof [sha256.Size]byte) [sha256.Size]byte { return sha256.Sum256(proof[:]) }
