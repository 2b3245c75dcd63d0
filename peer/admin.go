package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/wire"
)

// InviteCreate registers an invite; see NewLinkInvite and NewTokenInvite for
// making one. Owner and admins.
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

// Invites lists the invites of the mesh, newest first. Owner and admins.
func (c *Client) Invites(ctx context.Context) ([]wire.InviteRow, error) {
	var answer wire.Invites
	err := c.request(ctx, wire.TypeInviteList, nil, &answer)
	return answer.Invites, err
}

// InviteRevoke makes an invite unusable. Owner and admins.
func (c *Client) InviteRevoke(ctx context.Context, id wire.ID) error {
	return c.request(ctx, wire.TypeInviteRevoke, object{"inviteId": id}, nil)
}

// MemberSetRole changes a member's role to admin or member. Owner only.
func (c *Client) MemberSetRole(ctx context.Context, member wire.Key, role string) error {
	return c.request(ctx, wire.TypeMemberSetRole, object{"pubkey": member, "role": role}, nil)
}

// MemberRemove removes another member from the mesh for good. Owner and admins.
func (c *Client) MemberRemove(ctx context.Context, member wire.Key) error {
	if member == c.o.Mesh.Member.Public() {
		return errors.New("you can't do this to yourself; to leave the mesh, use `claudemesh leave`")
	}
	return c.request(ctx, wire.TypeMemberRemove, object{"pubkey": member}, nil)
}

// Leave removes the client's own member from the mesh for good, and ends its connections.
// The owner can't.
func (c *Client) Leave(ctx context.Context) error {
	return c.request(ctx, wire.TypeMemberRemove, object{"pubkey": c.o.Mesh.Member.Public()}, nil)
}

// Kick ends the sessions that a target means: a display name, a key, or the start of
// one. They may come back. The names of others that it means are in
// SkippedControlPlane: those are no sessions, and left alone. reason, at most
// wire.MaxModerationReason bytes, is for the peer to read; "" for none. Owner and admins.
func (c *Client) Kick(ctx context.Context, target, reason string) (wire.SentAway, error) {
	var answer wire.SentAway
	err := c.request(ctx, wire.TypeKick, withReason(target, reason), &answer)
	return answer, err
}

// Ban bars a member from the mesh until Unban, and ends its connections. target is as
// for Kick, or the name of a member; so is reason. Owner and admins.
func (c *Client) Ban(ctx context.Context, target, reason string) (wire.BanAck, error) {
	var answer wire.BanAck
	err := c.request(ctx, wire.TypeBan, withReason(target, reason), &answer)
	return answer, err
}

// Unban lets a banned member in again. Owner and admins.
func (c *Client) Unban(ctx context.Context, target string) (wire.UnbanAck, error) {
	var answer wire.UnbanAck
	err := c.request(ctx, wire.TypeUnban, object{"target": target}, &answer)
	return answer, err
}

// Bans lists the members who are banned. Owner and admins.
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

// Grant says what another member may do to this one: any of read, dm, broadcast
// and state-read; an empty list blocks it.
func (c *Client) Grant(ctx context.Context, member wire.Key, capabilities []string) error {
	if capabilities == nil {
		capabilities = []string{}
	}
	return c.request(ctx, wire.TypeGrantSet, object{"pubkey": member, "capabilities": capabilities}, nil)
}

// GrantDefault takes back what Grant said.
func (c *Client) GrantDefault(ctx context.Context, member wire.Key) error {
	return c.request(ctx, wire.TypeGrantSet, object{"pubkey": member}, nil)
}

// Audit returns entries of the mesh's audit log, oldest first. Owner and admins.
func (c *Client) Audit(ctx context.Context, q wire.AuditQuery) ([]wire.AuditRow, error) {
	frame := object{"after": q.After, "limit": q.Limit, "last": q.Last}
	var answer wire.AuditEntries
	err := c.request(ctx, wire.TypeAuditQuery, frame, &answer)
	return answer.Entries, err
}
