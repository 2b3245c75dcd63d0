package peer

import (
	"context"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Sealing tells how a received message was protected.
type Sealing string

// The ways of sealing.
const (
	// Direct was sealed for this client alone, by the holder of Incoming.Sender.
	Direct Sealing = "direct"
	// Copied was sealed as Direct. It is the copy of a message to many, which the
	// broker took this client to be unable to open.
	Copied Sealing = "copy"
	// InMesh was sealed under the mesh key: some member of the mesh wrote it. That
	// it was Incoming.Sender is the broker's word, unless Incoming.Verified.
	InMesh Sealing = "mesh"
	// NotEncrypted came as plain text, as v1 clients send to groups: the broker
	// and everybody on the way could read and change it.
	NotEncrypted Sealing = "none"
	// Unopened could not be opened: Incoming.Err tells why and Body is empty.
	Unopened Sealing = "unopened"
)

// Incoming is a received message. Body and Name come from others: they may hold
// anything, terminal escapes too.
type Incoming struct {
	MessageID string // the broker's
	ClientID  string // the sender's client_message_id, of a copy the original's; "" when it gave none
	Sender    wire.Key
	Member    wire.Key // the sender's member key; zero when unknown
	Name      string   // the sender's display name; "" when unknown
	Sealing   Sealing
	To        wire.Key // with Direct and Copied: which key of this client it was sealed for
	// Verified tells that Sender wrote the body and that Member vouches for Sender.
	// Without it, Member is the broker's word, and Doubt says why in a few words.
	Verified bool
	Doubt    string
	// WantsReceipt tells that the sender takes receipts; see Client.Confirm.
	WantsReceipt bool
	Body         []byte
	Err          error // with Unopened
	Priority     wire.Priority
	Topic        string
	// Targets are whom a message to many was for, in the broker's words and as TargetText
	// writes them; none for one to a key, and when the broker does not tell.
	Targets   []string
	ReplyTo   string // message id
	Mentions  []string
	CreatedAt time.Time // the broker's clock
}

// DedupeKey names the intent behind the message: a message that arrives again,
// over any connection, has the same key. It is the sender, by its member key
// where that is known, and the sender's id for the message, else the broker's.
func (m *Incoming) DedupeKey() string {
	from := m.Member
	if from.IsZero() {
		from = m.Sender
	}
	if m.ClientID != "" {
		return from.String() + " c " + m.ClientID
	}
	return from.String() + " b " + m.MessageID
}

// clientAckFrame is wire.ClientAck as it is written.
type clientAckFrame struct {
	Type     string `json:"type"`
	ClientID string `json:"clientMessageId"`
	BrokerID string `json:"brokerMessageId"`
}

// deliver hands one received thing to the application.
func (c *Client) deliver(ctx context.Context, conn *conn, r received) error {
	switch {
	case r.push != nil:
		return c.take(ctx, conn, r.push)
	case r.system != nil:
		if c.o.OnSystem != nil {
			c.o.OnSystem(*r.system)
		}
	case r.roster:
		if c.o.OnRoster != nil {
			c.o.OnRoster()
		}
	case c.o.OnCaughtUp != nil:
		c.o.OnCaughtUp()
	}
	return nil
}

// take hands a message to the application and acknowledges it. An error ends
// the connection, so that the broker sends this message and its successors again.
func (c *Client) take(ctx context.Context, conn *conn, p *wire.Push) error {
	if p.BodyVersion == wire.BodyReceipt {
		return c.takeReceipt(ctx, conn, p)
	}
	if c.o.OnMessage == nil {
		return nil
	}
	m := c.open(p)
	if key := m.DedupeKey(); !c.seen.has(key) {
		if err := c.o.OnMessage(ctx, m); err != nil {
			return fmt.Errorf("take message %s: %w", m.MessageID, err)
		}
		c.seen.add(key)
	}
	return conn.acknowledge(p)
}

// acknowledge tells the broker that it may forget a message.
func (c *conn) acknowledge(p *wire.Push) error {
	ack := clientAckFrame{wire.TypeClientAck, p.ClientID, p.MessageID}
	if ack.ClientID == "" {
		ack.ClientID = p.MessageID
	}
	return c.writeJSON(ack)
}

// seenSize is how many messages a client remembers to have taken. It is for
// redeliveries after a lost acknowledgement; longer memory is the inbox's.
const seenSize = 4096

// seenSet remembers the newest seenSize keys.
type seenSet struct {
	keys map[string]struct{}
	ring []string
	next int
}

func (s *seenSet) has(key string) bool {
	_, ok := s.keys[key]
	return ok
}

func (s *seenSet) add(key string) {
	if s.keys == nil {
		s.keys = make(map[string]struct{})
	}
	s.keys[key] = struct{}{}
	if len(s.ring) < seenSize {
		s.ring = append(s.ring, key)
		return
	}
	delete(s.keys, s.ring[s.next])
	s.ring[s.next] = key
	s.next = (s.next + 1) % seenSize
}
