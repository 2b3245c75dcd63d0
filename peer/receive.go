package peer

import (
	"context"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// Sealing says how a received message was protected.
type Sealing string

// These are the kinds of Sealing.
const (
	// Direct means that the holder of the key Incoming.Sender sealed the message for this
	// client alone.
	Direct Sealing = "direct"
	// Copied means that the message is sealed as Direct is, and is the copy of a message
	// to many. The broker assumed that this client can't open the original.
	Copied Sealing = "copy"
	// InMesh means that some member of the mesh sealed the message under the mesh key.
	// Only the broker says that this was Incoming.Sender, unless Incoming.Verified is set.
	InMesh Sealing = "mesh"
	// NotEncrypted means that the message came as plain text, as v1 clients send to
	// groups. The broker and everybody on the way could read and change it.
	NotEncrypted Sealing = "none"
	// Unopened means that the message could not be opened. Incoming.Err tells why, and
	// Body is empty.
	Unopened Sealing = "unopened"
)

// Incoming is a received message. Body and Name come from others and may hold anything,
// even terminal escapes.
type Incoming struct {
	MessageID string // the broker's
	ClientID  string // the sender's client_message_id (for a copy, that of the original); "" if there is none
	Sender    wire.Key
	Member    wire.Key // the sender's member key; zero when unknown
	Name      string   // the sender's display name; "" when unknown
	Sealing   Sealing
	To        wire.Key // with Direct and Copied: which key of this client it was sealed for
	// Verified means that Sender wrote the body and that Member attests Sender. If it is
	// false, only the broker says who Member is, and Doubt says in a few words why.
	Verified bool
	Doubt    string
	// WantsReceipt means that the sender takes receipts; see Client.Confirm.
	WantsReceipt bool
	Body         []byte
	Err          error // with Unopened
	Priority     wire.Priority
	Topic        string
	// Targets lists the targets of a message to many, as the broker reports them and in
	// the form of TargetText. It is empty for a message to a key, and if the broker does
	// not report targets.
	Targets   []string
	ReplyTo   string // message id
	Mentions  []string
	CreatedAt time.Time // the broker's clock
}

// DedupeKey identifies a message across deliveries: if the same message arrives again,
// over any connection, it has the same key. The key combines the sender (the member key if
// known) with the sender's id for the message, or with the broker's id if there is no
// sender's id.
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

// clientAckFrame is the JSON of wire.ClientAck.
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

// take hands a message to the application and acknowledges it. An error ends the
// connection, so that the broker sends this message and the following ones again.
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

// seenSize is how many taken messages a client remembers. It covers redeliveries after a
// lost acknowledgement; the inbox remembers for longer.
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
