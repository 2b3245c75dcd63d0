package mesh

import (
	"context"
	"errors"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Role is what a member may do in its mesh.
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

// Member is a person or service that belongs to a mesh, known by its key.
type Member struct {
	ID          wire.ID
	MeshID      wire.ID
	Key         wire.Key
	DisplayName string
	Role        Role
	Groups      []wire.Group // of its presences, unless they name their own
	JoinedAt    time.Time
	RemovedAt   time.Time // zero: neither removed nor banned
	Banned      bool      // removed until somebody takes that back
	BanReason   string    // for the member to read
	// Grants says what others may do to this member, by their member keys. Who
	// has no entry has DefaultGrants; an empty list blocks.
	Grants map[wire.Key][]string
}

// Capabilities that a member grants to others.
const (
	GrantRead      = "read"
	GrantDM        = "dm"
	GrantBroadcast = "broadcast"
	GrantStateRead = "state-read"
)

// Kind tells the two kinds of invites apart.
type Kind string

// The kinds of invites.
const (
	Link  Kind = "link"  // broker-blind: claimed with a key from the link's fragment
	Token Kind = "token" // v1: joined by showing the token
)

// Invite lets somebody become a member.
type Invite struct {
	ID            wire.ID
	MeshID        wire.ID
	Kind          Kind
	Code          string   // of a link
	ClaimKey      wire.Key // of a link
	SealedRootKey string   // of a link, opaque
	// TokenHash, of a token, is SHA-256(SHA-256(token)): the outer hash is over the
	// 32 raw bytes of the inner one, which is the token's proof. So neither what
	// is stored nor what is shown to join tells the token, and what is stored
	// does not let anybody join.
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
	ErrInviteExhausted = errors.New("invite was used as often as it allows")
	ErrFull            = errors.New("mesh has as many members as it may have")
	ErrRemoved         = errors.New("member was removed from the mesh")
	ErrExists          = errors.New("already exists")
)

// Store keeps meshes, members and invites. All methods are safe for concurrent
// use; errors that are not named here mean that the storage is out of reach.
type Store interface {
	// CreateMesh stores a mesh and its owner in one step.
	CreateMesh(ctx context.Context, m Mesh, owner Member) error
	// Mesh loads a mesh and all its members, removed ones too; ErrMeshNotFound.
	Mesh(ctx context.Context, id wire.ID) (Mesh, []Member, error)
	// AddInvite stores an invite; ErrExists when its code or token is taken.
	AddInvite(ctx context.Context, inv Invite) error
	// InviteByCode finds a link, InviteByToken a token; ErrInviteNotFound.
	InviteByCode(ctx context.Context, code string) (Invite, error)
	InviteByToken(ctx context.Context, hash [32]byte) (Invite, error)
	// Invites lists a mesh's invites, newest first, at most 500.
	Invites(ctx context.Context, meshID wire.ID) ([]Invite, error)
	// RevokeInvite marks an invite of the mesh; ErrInviteNotFound. Once is enough.
	RevokeInvite(ctx context.Context, meshID, inviteID wire.ID, at time.Time) error
	// Redeem uses an invite once and adds the member, in one transaction that
	// serializes with every other use of the invite and of the member's key. When
	// the key is already a member's it returns that member with existed true and
	// burns nothing (also if the member was removed: the caller looks at RemovedAt).
	// Otherwise ErrInviteRevoked, ErrInviteExpired (at m.JoinedAt) or
	// ErrInviteExhausted.
	Redeem(ctx context.Context, inviteID wire.ID, m Member) (member Member, existed bool, err error)
	// UpdateMember writes DisplayName, Role, Groups, RemovedAt, Banned, BanReason and Grants; ErrMemberNotFound.
	UpdateMember(ctx context.Context, m Member) error
}
