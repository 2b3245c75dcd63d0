package audit

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Kind says what an entry records.
type Kind string

// The kinds of entries.
const (
	MeshCreated    Kind = "mesh_created"
	MemberJoined   Kind = "member_joined"
	MemberRemoved  Kind = "member_removed"
	MemberBanned   Kind = "member_banned"
	MemberUnbanned Kind = "member_unbanned"
	RoleChanged    Kind = "role_changed"
	InviteCreated  Kind = "invite_created"
	InviteRevoked  Kind = "invite_revoked"
	PeerJoined     Kind = "peer_joined"
	PeerReturned   Kind = "peer_returned"
	PeerLeft       Kind = "peer_left"
	PeerKicked     Kind = "peer_kicked"
	Routed         Kind = "message_routed"
	LogRestored    Kind = "log_restored"
)

// Hash is a SHA-256; the zero Hash precedes the first entry.
type Hash [sha256.Size]byte

// Event is what happened; Extend turns it into an Entry of the chain.
type Event struct {
	MeshID wire.ID
	At     time.Time // to the millisecond
	Kind   Kind
	Actor  string // a member id, or Broker
	Detail string // a JSON object of routing facts; see Detail
}

// Entry is one link of a mesh's chain.
type Entry struct {
	Event
	Seq  int64 // from 1, without gaps
	Prev Hash  // of the previous entry; zero for the first
	Hash Hash
}

// Head identifies the newest entry of a chain; the zero Head is that of an empty chain.
type Head struct {
	Seq  int64 `json:"seq"`
	Hash Hash  `json:"hash"`
}

// Log is the chain of a mesh.
type Log struct {
	Mesh wire.ID
	Slug string // the mesh's; "" if the mesh itself is gone
	Head Head   // recorded next to the chain
}

// Store reads the logs, and keeps what is signed. The journal's commits append entries.
type Store interface {
	// AuditLogs lists the logs that have entries or a recorded head, in order of Mesh.
	AuditLogs(ctx context.Context) ([]Log, error)
	// AuditHead returns the head that is recorded next to the chain.
	AuditHead(ctx context.Context, meshID wire.ID) (Head, error)
	// AuditEntries returns up to limit entries with Seq > after, in order of Seq.
	AuditEntries(ctx context.Context, meshID wire.ID, after int64, limit int) ([]Entry, error)
	// AuditKey returns the key that signs the notes. If none is stored, it stores fresh and
	// returns that; a zero fresh is not stored.
	AuditKey(ctx context.Context, fresh Key) (Key, error)
	// AuditRestores returns the newest announcements of restores, at most limit, oldest first.
	AuditRestores(ctx context.Context, meshID wire.ID, limit int) ([]string, error)
	// AddAuditRestore stores the signed announcement of a restore.
	AddAuditRestore(ctx context.Context, meshID wire.ID, at time.Time, announcement string) error
	// AuditPruned returns the checkpoint of where the stored entries begin; "" if nothing was
	// pruned.
	AuditPruned(ctx context.Context, meshID wire.ID) (string, error)
	// PruneAudit stores the checkpoint of the entry with the number upTo, and deletes the oldest
	// entries up to that one, at most limit. It returns how many it deleted.
	PruneAudit(ctx context.Context, meshID wire.ID, upTo int64, checkpoint string, limit int) (int, error)
}
