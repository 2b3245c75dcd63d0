package queue

import (
	"context"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Mailbox is where deliveries wait for one recipient: the identity of a presence
// or a member, within a mesh. See presence.Identity for the names.
type Mailbox struct {
	Mesh wire.ID
	Name string
}

// Message is a message as it was accepted. Nonce and Ciphertext are opaque: the broker
// can't open them.
type Message struct {
	ID              wire.ID
	MeshID          wire.ID
	SenderMember    wire.ID
	SenderMemberKey wire.Key
	SenderKey       wire.Key // session key if the sender has one, else the member key
	SenderName      string
	// SenderAttestation is the member's signature over SenderKey; nil unless SenderKey is
	// a session's proven key. It is shared and must not be changed.
	SenderAttestation *wire.Attestation
	TargetSpec        string
	Priority          wire.Priority
	Nonce             string
	Ciphertext        string
	CreatedAt         time.Time // to the millisecond
	ClientID          string    // client_message_id, "" when the client made none
	Fingerprint       string
	Topic             string
	ReplyTo           string
	Mentions          []string
	BodyVersion       int64
	KeyEpoch          int64
	Trace             Trace // nil if the message is not traced; it is not stored
}

// SealedForMany reports whether the message is sealed under the mesh key, which not every
// client can open.
func (m *Message) SealedForMany() bool { return wire.SealedForMany(m.TargetSpec, m.BodyVersion) }

// State is how far a delivery came.
type State int8

// The states. A delivery leaves Pending once and for good.
const (
	Pending   State = 0 // not yet acknowledged by its recipient
	Delivered State = 1 // acknowledged
	Expired   State = 2 // not acknowledged within the retention time
	Gone      State = 3 // its recipient ended and can't come back
)

// String returns the name used in message_status.
func (s State) String() string {
	switch s {
	case Pending:
		return wire.StatePending
	case Delivered:
		return "delivered"
	case Expired:
		return "expired"
	}
	return "gone"
}

// Recipient is one delivery's part of a message.
type Recipient struct {
	// Seq orders all deliveries of a mesh, from 1; within a mailbox it is the order in
	// which messages were accepted, whatever the clocks said.
	Seq        int64
	Mailbox    Mailbox
	Key        wire.Key // as peers see it
	Name       string   // display name when the message was accepted
	SameMember bool     // sender and recipient belong to one member
	State      State
	SettledAt  time.Time // when it left Pending
}

// unopenedPrefix marks, before the mailbox's own name, a recipient whose client can't open
// the message. No mailbox has such a name.
const unopenedPrefix = "u/"

// Unopened reports whether the message was not sent to the recipient because its client
// can't open it. Such a delivery is Gone from the beginning.
func (r *Recipient) Unopened() bool { return strings.HasPrefix(r.Mailbox.Name, unopenedPrefix) }

// Accepted is a message with its recipients, as it is stored.
type Accepted struct {
	Message
	Recipients []Recipient
}

// Settlement says that a delivery has left Pending.
type Settlement struct {
	Mesh  wire.ID
	Seq   int64
	State State
	At    time.Time
}

// Waiting is a pending delivery read back from the store.
type Waiting struct {
	Seq        int64
	SameMember bool
	Message    Message
}

// Sent is an idempotency key that was used.
type Sent struct {
	ClientID  string
	MessageID wire.ID
}

// Store reads the queue; it is written by the journal's commits, except for the
// sweep. Errors mean that the storage is unreachable.
type Store interface {
	// Backlog returns up to limit pending deliveries of a mailbox with Seq >
	// after, in order of Seq; with urgentOnly only those of priority now.
	Backlog(ctx context.Context, box Mailbox, after int64, urgentOnly bool, limit int) ([]Waiting, error)
	// Find returns up to limit messages of a mesh whose id in hex begins with
	// prefix (8-32 lower-case hex digits), with recipients and without bodies and
	// attestations.
	Find(ctx context.Context, mesh wire.ID, prefix string, limit int) ([]Accepted, error)
	// Sent returns the newest idempotency keys that a member used, at most limit.
	Sent(ctx context.Context, mesh, member wire.ID, limit int) ([]Sent, error)
	// Burden returns what a mesh's messages with pending deliveries take in the store. It
	// may take long.
	Burden(ctx context.Context, mesh wire.ID) (Burden, error)
	// Mark returns where a mesh's sequences go on.
	Mark(ctx context.Context, mesh wire.ID) (Mark, error)
	// Sweep settles pending deliveries of messages created before expire as
	// Expired at now, removes the bodies that no delivery needs any more, and deletes
	// messages created before forget that have no pending delivery; at most limit of each.
	// It returns how many rows it touched; 0 means that nothing is left to do.
	Sweep(ctx context.Context, expire, forget, now time.Time, limit int) (int, error)
}

// Mark is where a mesh's sequences go on. It counts deliveries and messages that have been
// deleted, too.
type Mark struct {
	Seq     int64   // the highest ever stored, 0 for none
	Message wire.ID // the newest id ever stored, zero for none
}

// Burden is what waits in a mesh.
type Burden struct {
	Messages   int64
	Deliveries int64 // pending ones
	Bytes      int64 // of the messages' nonces and ciphertexts
	// Oldest is when the oldest of the messages was accepted; zero: there is none.
	Oldest time.Time
}

// Depth is what waits in all meshes.
type Depth struct {
	Deliveries int64     // pending ones
	Oldest     time.Time // when the oldest message with one was accepted; zero: there is none
}

// Room for the rows and index entries of a message and of a delivery, about as much
// as either database takes.
const (
	messageRow  = 1024
	deliveryRow = 320
)

// Size is what the burden takes in the store, in bytes.
func (b Burden) Size() int64 { return b.Bytes + messageRow*b.Messages + deliveryRow*b.Deliveries }

// Closing says that a mailbox's recipient has ended for good.
type Closing struct {
	Mailbox Mailbox
	At      time.Time
	Upto    int64 // the highest Seq to give up: the recipient may be let in again later
}
