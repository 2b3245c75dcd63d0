package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Broker is the actor of what the broker did by itself.
const Broker = "broker"

// Detail is what an entry says beyond its kind. There is one type for each kind,
// and its fields are all there is: ids, keys, numbers and words of closed sets,
// never a text that somebody typed. Written as JSON none of them needs an escape
// and all are compact, so that no JSON encoder on the way changes what was hashed.
type Detail interface {
	kind() Kind
}

// MeshCreatedDetail is of the entry that begins a mesh.
type MeshCreatedDetail struct {
	Slug string `json:"slug"` // as validated by package mesh
}

// MemberJoinedDetail is of a new member.
type MemberJoinedDetail struct {
	Member wire.ID  `json:"member"`
	Key    wire.Key `json:"key"`
	Role   string   `json:"role"`
	Invite wire.ID  `json:"invite"` // zero for the owner
}

// MemberRemovedDetail is of a member who was barred.
type MemberRemovedDetail struct {
	Member wire.ID  `json:"member"`
	Key    wire.Key `json:"key"`
}

// MemberBannedDetail is of a member who was barred until somebody takes that back.
type MemberBannedDetail MemberRemovedDetail

// MemberUnbannedDetail is of a member who was let in again.
type MemberUnbannedDetail MemberRemovedDetail

// RoleChangedDetail is of a member whose role was changed.
type RoleChangedDetail struct {
	Member wire.ID `json:"member"`
	From   string  `json:"from"`
	To     string  `json:"to"`
}

// InviteCreatedDetail is of a new invite.
type InviteCreatedDetail struct {
	Invite    wire.ID `json:"invite"`
	Kind      string  `json:"kind"` // link or token
	Role      string  `json:"role"`
	Uses      int64   `json:"uses"`
	ExpiresAt int64   `json:"expires_at"` // Unix ms
}

// InviteRevokedDetail is of an invite that was ended.
type InviteRevokedDetail struct {
	Invite wire.ID `json:"invite"`
}

// PeerJoinedDetail is of a presence that began.
type PeerJoinedDetail struct {
	Presence wire.ID  `json:"presence"`
	Member   wire.ID  `json:"member"`
	Key      wire.Key `json:"key"` // as peers see it
}

// PeerReturnedDetail is of a presence that came back.
type PeerReturnedDetail PeerJoinedDetail

// PeerLeftDetail is of a presence that ended.
type PeerLeftDetail PeerJoinedDetail

// PeerKickedDetail is of a presence that was sent away.
type PeerKickedDetail PeerJoinedDetail

// Target says how a message was addressed, without saying to whom.
type Target string

// The ways to address a message.
const (
	Direct Target = "direct" // one key
	Group  Target = "group"
	Topic  Target = "topic"
	All    Target = "all"
	Many   Target = "many" // several of these
)

// RoutedDetail is of a message that was accepted.
type RoutedDetail struct {
	Message    wire.ID       `json:"message"`
	Target     Target        `json:"target"`
	Recipients int           `json:"recipients"`
	Bytes      int           `json:"bytes"` // of the ciphertext as sent
	Priority   wire.Priority `json:"priority"`
}

func (MeshCreatedDetail) kind() Kind    { return MeshCreated }
func (MemberJoinedDetail) kind() Kind   { return MemberJoined }
func (MemberRemovedDetail) kind() Kind  { return MemberRemoved }
func (MemberBannedDetail) kind() Kind   { return MemberBanned }
func (MemberUnbannedDetail) kind() Kind { return MemberUnbanned }
func (PeerKickedDetail) kind() Kind     { return PeerKicked }
func (RoleChangedDetail) kind() Kind    { return RoleChanged }
func (InviteCreatedDetail) kind() Kind  { return InviteCreated }
func (InviteRevokedDetail) kind() Kind  { return InviteRevoked }
func (PeerJoinedDetail) kind() Kind     { return PeerJoined }
func (PeerReturnedDetail) kind() Kind   { return PeerReturned }
func (PeerLeftDetail) kind() Kind       { return PeerLeft }
func (RoutedDetail) kind() Kind         { return Routed }

// NewEvent makes the event that d tells of. The actor is a member's id in its
// wire form, or Broker.
func NewEvent(meshID wire.ID, at time.Time, actor string, d Detail) Event {
	if r, ok := d.(RoutedDetail); ok {
		return Event{MeshID: meshID, At: at, Kind: Routed, Actor: actor, Detail: r.text()}
	}
	text, err := json.Marshal(d)
	if err != nil {
		// The types above hold nothing that JSON cannot say.
		panic(fmt.Sprintf("audit: encode %T: %v", d, err))
	}
	return Event{MeshID: meshID, At: at, Kind: d.kind(), Actor: actor, Detail: string(text)}
}

// text is the JSON of the detail, without reflection: there is one for each message.
func (d *RoutedDetail) text() string {
	b := make([]byte, 0, 160)
	b = append(b, `{"message":"`...)
	b = hex.AppendEncode(b, d.Message[:])
	b = append(b, `","target":"`...)
	b = append(b, d.Target...)
	b = append(b, `","recipients":`...)
	b = strconv.AppendInt(b, int64(d.Recipients), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, int64(d.Bytes), 10)
	b = append(b, `,"priority":"`...)
	b = append(b, d.Priority...)
	return string(append(b, `"}`...))
}
