package peer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/wire"
)

// Sealing tells how a received message was protected.
type Sealing string

// The ways of sealing.
const (
	// Direct was sealed for this client alone, by the holder of Incoming.Sender
	// (or by this client's own key).
	Direct Sealing = "direct"
	// InMesh was sealed under the mesh key: some member of the mesh wrote it, and
	// that it was Incoming.Sender is the broker's word.
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
	ClientID  string // the sender's client_message_id; "" when it gave none
	Sender    wire.Key
	Member    wire.Key // the sender's member key; zero when the broker left it out
	Name      string   // the sender's display name; "" when unknown
	Sealing   Sealing
	Body      []byte
	Err       error // with Unopened
	Priority  wire.Priority
	Topic     string
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
	case c.o.OnCaughtUp != nil:
		c.o.OnCaughtUp()
	}
	return nil
}

// take hands a message to the application and acknowledges it. An error ends
// the connection, so that the broker sends this message and its successors again.
func (c *Client) take(ctx context.Context, conn *conn, p *wire.Push) error {
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
	ack := clientAckFrame{wire.TypeClientAck, m.ClientID, m.MessageID}
	if ack.ClientID == "" {
		ack.ClientID = m.MessageID
	}
	return conn.writeJSON(ack)
}

// open opens a message with the keys of this client.
func (c *Client) open(p *wire.Push) Incoming {
	m := Incoming{
		MessageID: p.MessageID,
		ClientID:  p.ClientID,
		Sender:    p.SenderPubkey,
		Member:    p.SenderMemberPubkey,
		Name:      p.SenderName,
		Priority:  p.Priority,
		Topic:     p.Topic,
		ReplyTo:   p.ReplyTo,
		Mentions:  p.Mentions,
		CreatedAt: p.CreatedAt,
	}
	if p.BodyVersion >= bodyMesh {
		m.Sealing = InMesh
		m.Body, m.Err = c.openMesh(p)
	} else {
		m.Sealing = Direct
		m.Body, m.Err = c.openDirect(p)
		if errors.Is(m.Err, envelope.ErrOpen) {
			if text, ok := plainText(p.Ciphertext); ok {
				m.Sealing, m.Body, m.Err = NotEncrypted, text, nil
			}
		}
	}
	if m.Err != nil {
		m.Sealing, m.Body = Unopened, nil
	}
	return m
}

func (c *Client) openMesh(p *wire.Push) ([]byte, error) {
	if p.BodyVersion != bodyMesh {
		return nil, fmt.Errorf("body version %d is newer than this client", p.BodyVersion)
	}
	if p.KeyEpoch > meshKeyEpoch {
		return nil, fmt.Errorf("sealed under mesh key %d, which this client does not have", p.KeyEpoch)
	}
	return envelope.OpenMesh(c.o.Mesh.Key, p.Nonce, p.Ciphertext)
}

// openDirect tries the session key, then the member key: the push does not say
// which of them the message was sealed for.
func (c *Client) openDirect(p *wire.Push) ([]byte, error) {
	if !c.o.Session.IsZero() {
		body, err := envelope.OpenDirect(c.o.Session, p.SenderPubkey, p.Nonce, p.Ciphertext)
		if err == nil {
			return body, nil
		}
	}
	return envelope.OpenDirect(c.o.Mesh.Member, p.SenderPubkey, p.Nonce, p.Ciphertext)
}

// plainText reads what a v1 client sends to groups: the base64 of a text. What
// was sealed for another is no text but by a chance that falls with its length;
// short as it may be, it has 16 random bytes.
func plainText(ciphertext string) ([]byte, bool) {
	raw, err := base64.StdEncoding.DecodeString(ciphertext)
	if err != nil || !utf8.Valid(raw) {
		return nil, false
	}
	for _, r := range string(raw) {
		if unicode.IsControl(r) && r != '\n' && r != '\r' && r != '\t' {
			return nil, false
		}
	}
	return raw, true
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
