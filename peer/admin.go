package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/wire"
)

// InviteCreate registers an invite that NewLinkInvite or NewTokenInvite made. Only the
// owner and admins may call it.
func (c *Client) InviteCreate(ctx context.Context, invite wire.InviteCreate) (wire.ID, error) {
	frame, err := toObject(invite)
	if err != nil {
		return wire.ID{}, err
	}
	var answer wire.InviteCreated
	err = c.request(ctx, wire.TypeInviteCreate, frame, &answer)
	return answer.InviteID, err
}

func toObject(v any) (object, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return o, nil
}

// Invites lists the invites of the mesh, newest first. Only the owner and admins may call
// it.
func (c *Client) Invites(ctx context.Context) ([]wire.InviteRow, error) {
	var answer wire.Invites
	err := c.request(ctx, wire.TypeInviteList, nil, &answer)
	return answer.Invites, err
}

// InviteRevoke makes an invite unusable. Only the owner and admins may call it.
func (c *Client) InviteRevoke(ctx context.Context, id wire.ID) error {
	return c.request(ctx, wire.TypeInviteRevoke, object{"inviteId": id}, nil)
}

// MemberSetRole changes a member's role to admin or member. Only the owner may call it.
func (c *Client) MemberSetRole(ctx context.Context, member wire.Key, role string) error {
	return c.request(ctx, wire.TypeMemberSetRole, object{"pubkey": member, "role": role}, nil)
}

// MemberRemove removes another member from the mesh for good. Only the owner and admins
// may call it.
func (c *Client) MemberRemove(ctx context.Context, member wire.Key) error {
	if member == c.o.Mesh.Member.Public() {
		return errors.New("you can't do this to yourself; to leave the mesh, use `claudemesh leave`")
	}
	return c.request(ctx, wire.TypeMemberRemove, object{"pubkey": member}, nil)
}

// Leave removes the client's own member from the mesh for good and ends its connections.
// The owner can't leave.
func (c *Client) Leave(ctx context.Context) error {
	return c.request(ctx, wire.TypeMemberRemove, object{"pubkey": c.o.Mesh.Member.Public()}, nil)
}

// Kick ends the sessions that a target matches. The target is a display name, a key or the
// start of a key. Kicked sessions may come back. SkippedControlPlane lists the names of
// matching connections that are not sessions; Kick leaves these alone. The peer gets to
// read the reason, which has at most wire.MaxModerationReason bytes and may be "". Only
// the owner and admins may call it.
func (c *Client) Kick(ctx context.Context, target, reason string) (wire.SentAway, error) {
	var answer wire.SentAway
	err := c.request(ctx, wire.TypeKick, withReason(target, reason), &answer)
	return answer, err
}

// Ban bars a member from the mesh until Unban and ends its connections. The target is as
// for Kick, or the name of a member. The reason is as for Kick. Only the owner and admins
// may call it.
func (c *Client) Ban(ctx context.Context, target, reason string) (wire.BanAck, error) {
	var answer wire.BanAck
	err := c.request(ctx, wire.TypeBan, withReason(target, reason), &answer)
	return answer, err
}

// Unban lets a banned member in again. Only the owner and admins may call it.
func (c *Client) Unban(ctx context.Context, target string) (wire.UnbanAck, error) {
	var answer wire.UnbanAck
	err := c.request(ctx, wire.TypeUnban, object{"target": target}, &answer)
	return answer, err
}

// Bans lists the banned members. Only the owner and admins may call it.
func (c *Client) Bans(ctx context.Context) ([]wire.BanRow, error) {
	var answer wire.BanList
	err := c.request(ctx, wire.TypeListBans, nil, &answer)
	return answer.Bans, err
}

func withReason(target, reason string) object {
	frame := object{"target": target}
	if reason != "" {
		frame["reason"] = reason
	}
	return frame
}

// Grant sets what another member may do to this one: any of read, dm, broadcast and
// state-read. An empty list blocks that member.
func (c *Client) Grant(ctx context.Context, member wire.Key, capabilities []string) error {
	if capabilities == nil {
		capabilities = []string{}
	}
	return c.request(ctx, wire.TypeGrantSet, object{"pubkey": member, "capabilities": capabilities}, nil)
}

// GrantDefault undoes Grant.
func (c *Client) GrantDefault(ctx context.Context, member wire.Key) error {
	return c.request(ctx, wire.TypeGrantSet, object{"pubkey": member}, nil)
}

// Audit returns entries of the mesh's audit log, oldest first. Only the owner and admins
// may call it.
func (c *Client) Audit(ctx context.Context, q wire.AuditQuery) ([]wire.AuditRow, error) {
	frame := object{"after": q.After, "limit": q.Limit, "last": q.Last}
	var answer wire.AuditEntries
	err := c.request(ctx, wire.TypeAuditQuery, frame, &answer)
	return answer.Entries, err
}
