package mesh

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Role determines what a member may do in its mesh.
type Role string

// The roles, from the most to the least powerful.
const (
	Owner  Role = "owner"
	Admin  Role = "admin"
	Normal Role = "member"
)

// Mesh is a group of members who can find each other.
type Mesh struct {
	ID        wire.ID
	Slug      string // [a-z0-9._-]{1,64}
	Name      string
	Owner     wire.Key
	CreatedAt time.Time
}

// Member is a person or service that belongs to a mesh, identified by its key.
type Member struct {
	ID          wire.ID
	MeshID      wire.ID
	Key         wire.Key
	DisplayName string
	Role        Role
	Groups      []wire.Group // the default groups of its presences
	JoinedAt    time.Time
	RemovedAt   time.Time // zero if neither removed nor banned
	Banned      bool      // removed until an unban
	BanReason   string    // for the member to read
	// Grants lists, by member key, the capabilities that this member grants to others.
	// A member without an entry has DefaultGrants; an empty list blocks.
	Grants map[wire.Key][]string
}

// Capabilities that a member grants to others.
const (
	GrantRead      = "read"
	GrantDM        = "dm"
	GrantBroadcast = "broadcast"
	GrantStateRead = "state-read"
)

// Kind is the kind of an invite.
type Kind string

// The kinds of invites.
const (
	Link  Kind = "link"  // broker-blind: claimed with a key from the link's fragment
	Token Kind = "token" // v1: joined by showing the token
)

// Invite lets people become members.
type Invite struct {
	ID            wire.ID
	MeshID        wire.ID
	Kind          Kind
	Code          string   // links only
	ClaimKey      wire.Key // links only
	SealedRootKey string   // links only; opaque
	// TokenHash, for tokens only, is SHA-256(SHA-256(token)). The outer hash covers the
	// 32 raw bytes of the inner one, the token's proof. So neither the proof nor the
	// stored hash reveals the token, and the stored hash lets nobody join.
	TokenHash [32]byte
	Role      Role
	Groups    []wire.Group
	Uses      int64 // how often it may be used
	Used      int64
	ExpiresAt time.Time
	CreatedAt time.Time
	CreatedBy wire.ID // member
	RevokedAt time.Time
}

// Errors of the rules and of the store.
var (
	ErrMeshNotFound    = errors.New("mesh not found")
	ErrMemberNotFound  = errors.New("member not found")
	ErrInviteNotFound  = errors.New("invite not found")
	ErrInviteRevoked   = errors.New("invite was revoked")
	ErrInviteExpired   = errors.New("invite has expired")
	ErrInviteExhausted = errors.New("invite has no uses left")
	ErrFull            = errors.New("mesh has reached its member limit")
	ErrRemoved         = errors.New("member was removed from the mesh")
	ErrExists          = errors.New("already exists")
)

// Store persists meshes, members and invites. All methods are safe for concurrent use.
// An error that isn't named here means that the storage is unreachable.
type Store interface {
	// CreateMesh stores a mesh and its owner in one transaction.
	CreateMesh(ctx context.Context, m Mesh, owner Member) error
	// Mesh loads a mesh and all its members, including removed ones, or returns
	// ErrMeshNotFound.
	Mesh(ctx context.Context, id wire.ID) (Mesh, []Member, error)
	// AddInvite stores an invite, or returns ErrExists if its code or token exists.
	AddInvite(ctx context.Context, inv Invite) error
	// InviteByCode finds a link and InviteByToken a token, or they return
	// ErrInviteNotFound.
	InviteByCode(ctx context.Context, code string) (Invite, error)
	InviteByToken(ctx context.Context, hash [32]byte) (Invite, error)
	// Invites lists a mesh's invites, newest first, at most 500.
	Invites(ctx context.Context, meshID wire.ID) ([]Invite, error)
	// RevokeInvite marks an invite of the mesh as revoked, or returns ErrInviteNotFound.
	// Repeating it changes nothing.
	RevokeInvite(ctx context.Context, meshID, inviteID wire.ID, at time.Time) error
	// Redeem uses an invite once and adds the member, in one transaction that
	// serializes with every other use of the invite and of the member's key. If a
	// member has the key already, Redeem returns that member with existed true and
	// doesn't use the invite (also if the member was removed; the caller checks
	// RemovedAt). Otherwise it may return ErrInviteRevoked, ErrInviteExpired (at
	// m.JoinedAt) or ErrInviteExhausted.
	Redeem(ctx context.Context, inviteID wire.ID, m Member) (member Member, existed bool, err error)
	// UpdateMember writes DisplayName, Role, Groups, RemovedAt, Banned, BanReason and
	// Grants, or returns ErrMemberNotFound.
	UpdateMember(ctx context.Context, m Member) error
}
