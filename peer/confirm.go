package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// ConfirmState says how far a message has come with its recipient.
type ConfirmState string

// These are the states that a recipient confirms.
const (
	ConfirmedDelivered ConfirmState = "delivered"  // stored on the recipient's machine
	ConfirmedInContext ConfirmState = "in_context" // the recipient's model has received it
	ConfirmedRefused   ConfirmState = "refused"    // the recipient won't show it; Confirmed.Reason may say why
)

func (s ConfirmState) valid() bool {
	return s == ConfirmedDelivered || s == ConfirmedInContext || s == ConfirmedRefused
}

// Confirmed is a recipient's statement about one message.
type Confirmed struct {
	ClientID string // the sender's client_message_id
	State    ConfirmState
	At       time.Time // to the millisecond, by the recipient's clock
	Reason   string    // of a refusal, at most MaxReasonLen bytes of the recipient's words
}

// MaxReasonLen is the longest Confirmed.Reason, in bytes. Confirm cuts longer ones.
const MaxReasonLen = 200

// Confirmation is a received receipt. By has signed it for this client. The application
// must check whether the messages were sent to By: anybody may confirm a message that they
// never got.
type Confirmation struct {
	By       wire.Key
	Member   wire.Key // the member that vouches for By; zero when none is proven to
	Messages []Confirmed
}

// receiptLimit is the largest number of messages in one receipt.
const receiptLimit = 100

// receipt is the body of version wire.BodyReceipt. It is sealed for the sender of the
// messages.
type receipt struct {
	Version   int             `json:"v"`
	MeshID    string          `json:"meshId"`
	Messages  json.RawMessage `json:"messages"` // the signature covers these bytes
	By        wire.Key        `json:"by"`
	Signature wire.Signature  `json:"signature"`
}

const receiptVersion = 1

// receiptMessage is the JSON of a Confirmed.
type receiptMessage struct {
	ID     string       `json:"id"`
	State  ConfirmState `json:"state"`
	At     int64        `json:"at"` // Unix ms
	Reason string       `json:"reason,omitempty"`
}

// Confirm tells the sender of messages how far they have come. The receipt is signed and
// sealed, so the broker can neither forge nor read it. Use Confirm for messages with
// Incoming.WantsReceipt; to is their Incoming.Sender. Confirm tries as long as Send does.
// Confirming twice does no harm.
func (c *Client) Confirm(ctx context.Context, to wire.Key, list []Confirmed) error {
	for part := range slices.Chunk(list, receiptLimit) {
		body, err := makeReceipt(c.o.Mesh.MeshID, c.o.pair(), to, part)
		if err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
		f := sendFrame{ClientID: uuid.NewString(), Priority: wire.Now, BodyVersion: wire.BodyReceipt}
		if f.Nonce, f.Ciphertext, err = envelope.SealDirect(c.o.pair(), to, body); err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
		frame, err := f.encode([]wire.Target{{Kind: wire.TargetKey, Key: to}})
		if err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
		if _, err := c.submit(ctx, f.ClientID, frame); err != nil {
			return fmt.Errorf("confirm: %w", err)
		}
	}
	return nil
}

// makeReceipt writes and signs a receipt for the sender's key.
func makeReceipt(meshID string, by identity.KeyPair, sender wire.Key, list []Confirmed) ([]byte, error) {
	messages := make([]receiptMessage, len(list))
	for i := range list {
		m := &list[i]
		if m.ClientID == "" || len(m.ClientID) > wire.MaxClientID || !m.State.valid() || m.At.UnixMilli() <= 0 {
			return nil, fmt.Errorf("message %q can't be confirmed as %q at %v", m.ClientID, m.State, m.At)
		}
		messages[i] = receiptMessage{m.ClientID, m.State, m.At.UnixMilli(), visible.Cut(m.Reason, MaxReasonLen, visible.Bytes)}
	}
	raw, err := json.Marshal(messages)
	if err != nil {
		return nil, fmt.Errorf("encode receipt: %w", err)
	}
	sig := by.Sign(wire.ReceiptSigningText(meshID, by.Public(), sender, hexHash(raw)))
	return json.Marshal(receipt{receiptVersion, meshID, raw, by.Public(), sig})
}

// readReceipt reads a receipt that by has sealed for sender, which is one of our keys. It
// leaves out states that this version does not know.
func readReceipt(body []byte, meshID string, by, sender wire.Key) ([]Confirmed, error) {
	var r receipt
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, errors.New("the body is not the JSON of a receipt") // an error of package json may quote the body
	}
	switch {
	case r.Version != receiptVersion:
		return nil, fmt.Errorf("the receipt has version %d; this client knows only version %d", r.Version, receiptVersion)
	case r.MeshID != meshID:
		return nil, errors.New("the receipt is for another mesh")
	case r.By != by:
		return nil, errors.New("the receipt names another key than the one that sent it")
	case !identity.Verify(by, wire.ReceiptSigningText(meshID, by, sender, hexHash(r.Messages)), r.Signature):
		return nil, identity.ErrBadSignature
	}
	var messages []receiptMessage
	if err := json.Unmarshal(r.Messages, &messages); err != nil {
		return nil, errors.New("the list of messages in the receipt is malformed")
	}
	if len(messages) > receiptLimit {
		return nil, fmt.Errorf("the receipt confirms %d messages, more than %d", len(messages), receiptLimit)
	}
	var list []Confirmed
	for _, m := range messages {
		if m.ID == "" || len(m.ID) > wire.MaxClientID || len(m.Reason) > MaxReasonLen || m.At <= 0 {
			return nil, errors.New("the receipt has a message with an invalid id, time or reason")
		}
		if m.State.valid() {
			list = append(list, Confirmed{m.ID, m.State, time.UnixMilli(m.At).UTC(), m.Reason})
		}
	}
	return list, nil
}

// takeReceipt hands a receipt to the application. It acknowledges and drops an invalid
// receipt, because another delivery would not help.
func (c *Client) takeReceipt(ctx context.Context, conn *conn, p *wire.Push) error {
	if c.o.OnConfirmation == nil && c.o.OnMessage == nil {
		return nil
	}
	list, err := c.openReceipt(p)
	switch {
	case err != nil:
		c.log.Warn("dropped a receipt", "reason", err, "message_id", p.MessageID, "sender", p.SenderPubkey.Short())
	case c.o.OnConfirmation != nil && len(list) > 0:
		member, _ := c.author(p)
		if err := c.o.OnConfirmation(ctx, Confirmation{p.SenderPubkey, member, list}); err != nil {
			return fmt.Errorf("take receipt %s: %w", p.MessageID, err)
		}
	}
	return conn.acknowledge(p)
}

func (c *Client) openReceipt(p *wire.Push) ([]Confirmed, error) {
	body, to, err := c.openDirect(p)
	if err != nil {
		return nil, err
	}
	return readReceipt(body, c.o.Mesh.MeshID, p.SenderPubkey, to.Public())
}
