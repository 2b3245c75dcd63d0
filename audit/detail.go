package audit

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Broker is the actor of an event that the broker caused itself.
const Broker = "broker"

// Detail is the content of an entry beyond its kind, with one type per kind. The fields
// hold only ids, keys, numbers and words from closed sets, never text that somebody
// typed. Their JSON is compact and needs no escapes, so that no JSON encoder on the way
// changes the hashed text.
type Detail interface {
	kind() Kind
}

// MeshCreatedDetail is the detail of MeshCreated, the first entry of a mesh.
type MeshCreatedDetail struct {
	Slug string `json:"slug"` // as validated by package mesh
}

// MemberJoinedDetail is the detail of MemberJoined: a new member.
type MemberJoinedDetail struct {
	Member wire.ID  `json:"member"`
	Key    wire.Key `json:"key"`
	Role   string   `json:"role"`
	Invite wire.ID  `json:"invite"` // zero for the owner
}

// MemberRemovedDetail is the detail of MemberRemoved: a member was removed for good.
type MemberRemovedDetail struct {
	Member wire.ID  `json:"member"`
	Key    wire.Key `json:"key"`
}

// MemberBannedDetail is the detail of MemberBanned: a member was banned until an unban.
type MemberBannedDetail MemberRemovedDetail

// MemberUnbannedDetail is the detail of MemberUnbanned: a ban ended.
type MemberUnbannedDetail MemberRemovedDetail

// RoleChangedDetail is the detail of RoleChanged: a member got another role.
type RoleChangedDetail struct {
	Member wire.ID `json:"member"`
	From   string  `json:"from"`
	To     string  `json:"to"`
}

// InviteCreatedDetail is the detail of InviteCreated: a new invite.
type InviteCreatedDetail struct {
	Invite    wire.ID `json:"invite"`
	Kind      string  `json:"kind"` // link or token
	Role      string  `json:"role"`
	Uses      int64   `json:"uses"`
	ExpiresAt int64   `json:"expires_at"` // Unix ms
}

// InviteRevokedDetail is the detail of InviteRevoked: an invite was revoked.
type InviteRevokedDetail struct {
	Invite wire.ID `json:"invite"`
}

// PeerJoinedDetail is the detail of PeerJoined: a presence began.
type PeerJoinedDetail struct {
	Presence wire.ID  `json:"presence"`
	Member   wire.ID  `json:"member"`
	Key      wire.Key `json:"key"` // the key that peers see
}

// PeerReturnedDetail is the detail of PeerReturned: a presence returned.
type PeerReturnedDetail PeerJoinedDetail

// PeerLeftDetail is the detail of PeerLeft: a presence ended.
type PeerLeftDetail PeerJoinedDetail

// PeerKickedDetail is the detail of PeerKicked: somebody kicked or disconnected a
// presence.
type PeerKickedDetail PeerJoinedDetail

// Target says how a message was addressed, but not to whom.
type Target string

// The ways to address a message.
const (
	Direct Target = "direct" // one key
	Group  Target = "group"
	Topic  Target = "topic"
	All    Target = "all"
	Many   Target = "many" // several of the above
)

// RoutedDetail is the detail of Routed: the broker accepted a message.
type RoutedDetail struct {
	Message    wire.ID       `json:"message"`
	Target     Target        `json:"target"`
	Recipients int           `json:"recipients"`
	Bytes      int           `json:"bytes"` // of the ciphertext as sent
	Priority   wire.Priority `json:"priority"`
}

// LogRestoredDetail is the detail of LogRestored: the storage was restored from a backup, and
// the log goes on after its newest entry of then.
type LogRestoredDetail struct {
	Size int64 `json:"size"` // number of that entry
	Hash Hash  `json:"hash"` // of that entry
}

func (LogRestoredDetail) kind() Kind    { return LogRestored }
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

// NewEvent returns the event with the detail d. The actor is a member's id in its wire
// form, or Broker.
func NewEvent(meshID wire.ID, at time.Time, actor string, d Detail) Event {
	if r, ok := d.(RoutedDetail); ok {
		return Event{MeshID: meshID, At: at, Kind: Routed, Actor: actor, Detail: r.text()}
	}
	text, err := json.Marshal(d)
	if err != nil {
		// Can't happen: JSON can encode all detail types.
		panic(fmt.Sprintf("audit: encode %T: %v", d, err))
	}
	return Event{MeshID: meshID, At: at, Kind: d.kind(), Actor: actor, Detail: string(text)}
}

// text returns the JSON of the detail. It avoids reflection because it runs for each
// message.
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
