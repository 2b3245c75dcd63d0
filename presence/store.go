package presence

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Identity names a presence for as long as it can come back. It is also the name of the
// mailbox in which its messages wait:
//
//	s/<session key>             a session that proved its key
//	d/<member key>@<hostname>   a member connection, one per host
//	p/<presence id>             a connection that claims a session key without proof, or has no host name
//
// m/<member key> is the mailbox of the member itself: what is addressed to a
// member key waits there for whichever presence of the member is home.
type Identity string

// SessionIdentity is the identity of a proven session key.
func SessionIdentity(session wire.Key) Identity { return Identity("s/" + session.String()) }

// HostIdentity is the identity of a member's connection from a host.
func HostIdentity(member wire.Key, hostname string) Identity {
	return Identity("d/" + member.String() + "@" + hostname)
}

// ClaimedIdentity is the identity of a presence that cannot come back under a key.
func ClaimedIdentity(presenceID wire.ID) Identity { return Identity("p/" + presenceID.String()) }

// Returns reports whether a presence can come back under this identity after it
// has ended, so that messages may wait for it.
func (id Identity) Returns() bool { return !strings.HasPrefix(string(id), "p/") }

// MemberMailbox is where messages to a member key wait.
func MemberMailbox(member wire.Key) string { return "m/" + member.String() }

// Source says where a status came from. Within the hook window, a lower source can't
// refresh a status that a higher one has set; see decide.
type Source int8

// The sources of a status.
const (
	JSONL  Source = 1 // inferred
	Manual Source = 2
	Hook   Source = 3
)

// Record is what is kept of a presence, in memory and in the store.
type Record struct {
	MeshID      wire.ID
	Identity    Identity
	ID          wire.ID // presence id
	MemberID    wire.ID
	MemberKey   wire.Key
	SessionKey  wire.Key // zero: none
	Proven      bool     // the session key was proven, not merely claimed
	Role        string   // wire.RoleControlPlane or wire.RoleSession
	SessionID   string
	PID         int64
	Cwd         string
	DisplayName string
	Hostname    string
	PeerType    string
	Channel     string
	Model       string
	Groups      []wire.Group
	Summary     string
	Status      wire.Status
	Source      Source
	StatusAt    time.Time
	// StatusReason is the reason that the peer gave with its status, or "".
	StatusReason string
	Visible      bool
	Profile      *wire.Profile   // nil: none set
	Stats        json.RawMessage // nil: none set
	// Attestation is the member's signature over a proven session key, from its newest
	// hello; nil for others. It must not be changed.
	Attestation *wire.Attestation
	// SealedGroups says that its client opens messages sealed under the mesh key.
	SealedGroups bool
	ConnectedAt  time.Time // when the presence began
	LastSeenAt   time.Time // when it was last known to be connected
	EndedAt      time.Time // zero: online or leased
}

// Key is the key under which peers see the presence: its session key, else its
// member key.
func (r *Record) Key() wire.Key {
	if r.SessionKey.IsZero() {
		return r.MemberKey
	}
	return r.SessionKey
}

// Known is a session key that was proven and may come back.
type Known struct {
	SessionKey  wire.Key
	MemberID    wire.ID
	DisplayName string
}

// Store keeps presences over a restart of the broker. Records are written by the
// journal's commits, one row per (mesh, identity); a record of a ClaimedIdentity
// that has ended is deleted.
type Store interface {
	// Presences returns the records of a mesh that have not ended.
	Presences(ctx context.Context, meshID wire.ID) ([]Record, error)
	// KnownSessions returns the proven session keys of a mesh.
	KnownSessions(ctx context.Context, meshID wire.ID) ([]Known, error)
	// LastPresence returns the record of an identity, ended or not.
	LastPresence(ctx context.Context, meshID wire.ID, id Identity) (Record, bool, error)
	// PrunePresences deletes records that ended before t and have no pending
	// delivery, at most limit, and returns how many.
	PrunePresences(ctx context.Context, t time.Time, limit int) (int, error)
}
