package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	ackTimeout = 15 * time.Second
	// meshKeyEpoch is the epoch of the mesh key. There is only one so far.
	meshKeyEpoch = 1
)

// Outgoing is a message to send.
type Outgoing struct {
	// To is one key, or any number of groups and "everybody". To send to several keys,
	// send several messages, because each message is sealed for its own key.
	To       []wire.Target
	Body     []byte
	Priority wire.Priority // "": next
	ReplyTo  string        // message id
	Mentions []string      // at most wire.MaxMentions
	// MustReach makes the broker refuse a message to many that nobody would get, if the
	// broker offers wire.CapMustReach.
	MustReach bool
	// ClientID identifies the message across retries: the broker delivers the messages
	// with one ClientID only once. If it is "", Send makes up a new one.
	ClientID string
}

// Receipt is the broker's statement that a message is safe. The recipient's own statement
// is a Confirmation.
type Receipt struct {
	MessageID string
	ClientID  string
	Queued    bool // the broker has stored it for delivery
	// Copies are the copies of a message to many, for the peers whose clients can't open
	// it.
	Copies []Copy
	// MoreUnopened is how many more such peers there are. They get no copy.
	MoreUnopened int
}

// sendFrame is the JSON of wire.Send.
type sendFrame struct {
	Type        string          `json:"type"`
	ID          string          `json:"id"`
	ClientID    string          `json:"client_message_id"`
	Fingerprint string          `json:"request_fingerprint"`
	TargetSpec  json.RawMessage `json:"targetSpec"`
	Priority    wire.Priority   `json:"priority"`
	Nonce       string          `json:"nonce"`
	Ciphertext  string          `json:"ciphertext"`
	ReplyTo     string          `json:"replyToId,omitempty"`
	Mentions    []string        `json:"mentions,omitempty"`
	BodyVersion int             `json:"bodyVersion,omitempty"`
	KeyEpoch    int             `json:"keyEpoch,omitempty"`
	MustReach   bool            `json:"mustReach,omitempty"`
}

// Send seals a message and hands it to the broker, across reconnects, until the broker has
// acknowledged it or ctx ends. It returns a *RefusedError if the broker refuses the
// message for good; it waits and tries again after temporary refusals such as a rate
// limit. If ctx ends first, the broker may or may not have the message; it is safe to send
// the message again with the same ClientID. The same is true if Send returns an error
// together with a Receipt that has a MessageID: then the broker does not have some of the
// Copies.
func (c *Client) Send(ctx context.Context, m Outgoing) (Receipt, error) {
	if m.ClientID == "" {
		m.ClientID = uuid.NewString()
	}
	toMany := len(m.To) > 0 && m.To[0].Kind != wire.TargetKey
	if toMany && c.o.Mesh.Key.IsZero() {
		return Receipt{}, fmt.Errorf("send: %w", &NoMeshKeyError{c.o.Mesh.Slug})
	}
	frame, err := c.seal(&m)
	if err != nil {
		return Receipt{}, fmt.Errorf("send: %w", err)
	}
	if toMany {
		if err := c.canSendToMany(ctx, &m); err != nil {
			return Receipt{}, fmt.Errorf("send: %w", err)
		}
	}
	ack, err := c.submit(ctx, m.ClientID, frame.bytes)
	if err != nil {
		return Receipt{}, frame.inWords(err)
	}
	receipt := Receipt{MessageID: ack.MessageID, ClientID: m.ClientID, Queued: ack.Queued}
	if toMany {
		err = c.sendCopies(ctx, &m, &ack, &receipt)
	}
	return receipt, err
}

// submit hands a sealed message to the broker until the broker acknowledges it.
func (c *Client) submit(ctx context.Context, clientID string, frame []byte) (wire.Ack, error) {
	var pauses backoff
	open := false // a frame went out and was not answered
	for {
		ack, on, err := c.attempt(ctx, clientID, frame)
		open = err != nil && (open || on != nil)
		switch {
		case err == nil && ack.Error == "" && ack.MessageID != "":
			return ack, nil
		case err == nil:
			refused := newRefusedError(ack.Error)
			c.delayed(refused.Reason)
			if refused.Final || !on.pause(ctx, pauses.next()) {
				return wire.Ack{}, refused
			}
		case ctx.Err() == nil && (errors.Is(err, ErrDisconnected) || errors.Is(err, errNoAck)):
			c.delayed(err.Error())
			c.log.Debug("sending again", "client_message_id", clientID, "reason", err)
		default:
			if ctx.Err() != nil && !errors.Is(err, ctx.Err()) { // ctx ended at the same time as something else
				err = ctx.Err()
			}
			if open {
				err = fmt.Errorf("%w: %w", ErrUnacknowledged, err)
			}
			return wire.Ack{}, fmt.Errorf("send: %w", err)
		}
	}
}

func (c *Client) delayed(reason string) {
	if c.o.OnDelay != nil {
		c.o.OnDelay(reason)
	}
}

// ErrUnacknowledged is returned by Send if its context or its client ends after the
// message went out but before the broker answered. The broker may or may not have the
// message.
var ErrUnacknowledged = errors.New("the broker has not acknowledged the message")

var errNoAck = errors.New("no acknowledgement within 15 s")

// pause waits for d, or until the connection has ended, as when the mesh moves to another
// node. It reports whether ctx is still going on.
func (c *conn) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ctx.Done():
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// attempt writes the frame on the current connection and waits for its ack. on is the
// connection, which may have brought the frame to the broker; nil if there was none.
func (c *Client) attempt(ctx context.Context, id string, frame []byte) (_ wire.Ack, on *conn, _ error) {
	conn, err := c.connected(ctx)
	if err != nil {
		return wire.Ack{}, nil, err
	}
	answer, forget := conn.expect(id)
	defer forget()
	_ = conn.write(frame) // if this fails, the connection ends and says why
	timeout := time.NewTimer(ackTimeout)
	defer timeout.Stop()
	select {
	case f := <-answer:
		ack, err := wire.DecodeAck(&f)
		return ack, conn, err
	case <-conn.ctx.Done():
		if conn.tooLarge(frame) {
			return wire.Ack{Error: fmt.Sprintf("%s: the broker does not accept a frame of %d bytes", wire.AckPayloadTooLarge, len(frame))}, conn, nil
		}
		return wire.Ack{}, conn, ErrDisconnected
	case <-timeout.C:
		return wire.Ack{}, conn, errNoAck
	case <-ctx.Done():
		return wire.Ack{}, conn, ctx.Err()
	}
}

// sealedFrame is a message that is ready to send.
type sealedFrame struct {
	bytes      []byte
	text       int    // bytes of the message before sealing
	ciphertext string // base64
}

// seal makes the frame of a message. Send calls it once for each message, so retries send
// the same bytes.
func (c *Client) seal(m *Outgoing) (*sealedFrame, error) {
	f := sendFrame{
		ClientID: m.ClientID,
		Priority: m.Priority,
		ReplyTo:  m.ReplyTo,
		Mentions: m.Mentions,
	}
	if f.Priority == "" {
		f.Priority = wire.Next
	}
	if !f.Priority.Valid() {
		return nil, fmt.Errorf("priority %q must be now, next or low", f.Priority)
	}
	direct, err := checkTargets(m.To)
	if err != nil {
		return nil, err
	}
	if direct {
		if c.o.TakesReceipts {
			f.BodyVersion = wire.BodyText
		}
		f.Nonce, f.Ciphertext, err = envelope.SealDirect(c.o.pair(), m.To[0].Key, m.Body)
	} else {
		f.BodyVersion, f.KeyEpoch, f.MustReach = wire.BodySignedMesh, meshKeyEpoch, m.MustReach
		text := signedText(c.o.Mesh.MeshID, c.o.pair(), f.ClientID, m.Body)
		f.Nonce, f.Ciphertext, err = envelope.SealMesh(c.o.Mesh.Key, text)
	}
	if err != nil {
		return nil, err
	}
	frame, err := f.encode(m.To)
	return &sealedFrame{frame, len(m.Body), f.Ciphertext}, err
}

// encode completes the frame of a sealed message and returns its JSON.
func (f *sendFrame) encode(to []wire.Target) (_ []byte, err error) {
	f.Type, f.ID = wire.TypeSend, f.ClientID
	// Hash the ciphertext, not the text, so that the broker can't test guesses of the
	// text.
	f.Fingerprint = hexHash([]byte(f.ClientID + "\n" + f.Ciphertext))
	if f.TargetSpec, err = targetSpec(to); err != nil {
		return nil, err
	}
	return json.Marshal(f)
}

// checkTargets reports whether the message goes to one key.
func checkTargets(to []wire.Target) (direct bool, err error) {
	if len(to) == 0 {
		return false, errors.New("a message needs a target")
	}
	for _, t := range to {
		if t.Kind == wire.TargetKey && len(to) > 1 {
			return false, errors.New("a message to a key can't have other targets, because it is sealed for that key")
		}
	}
	return to[0].Kind == wire.TargetKey, nil
}

func targetSpec(to []wire.Target) (json.RawMessage, error) {
	texts := make([]string, len(to))
	for i, t := range to {
		texts[i] = TargetText(t)
	}
	if len(texts) == 1 {
		return json.Marshal(texts[0])
	}
	return json.Marshal(texts)
}

// TargetText returns a target in the form that wire.ParseTarget accepts.
func TargetText(t wire.Target) string {
	switch t.Kind {
	case wire.TargetKey:
		return t.Key.String()
	case wire.TargetGroup:
		return "@" + t.Name
	case wire.TargetTopic:
		return "#" + t.Name
	}
	return "*"
}
