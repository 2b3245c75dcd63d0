package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// Copy is the copy of a message to many for one peer whose client can't open the message
// itself. Such a client speaks protocol v1 or does not have the mesh key. The copy is
// sealed for the peer's own key.
type Copy struct {
	Key    wire.Key
	Member wire.Key // according to the broker
	Name   string   // from others; it may hold anything
	// Reason says why the peer can't be reached, "" if it can.
	Reason string
}

// ErrGroupsUnsorted is returned by Send for a message to many when the broker does not say
// which peers could not open it.
var ErrGroupsUnsorted = errors.New("this broker is too old for messages to groups: it can't tell which peers could not read them; " +
	"send to each peer by name, or ask the broker's operator to update it")

// canSendToMany returns an error if some peer might get a message to many as bytes that it
// can't read.
func (c *Client) canSendToMany(ctx context.Context, m *Outgoing) error {
	if len(m.ClientID) > wire.MaxCopiedID {
		return fmt.Errorf("the id of a message to a group has at most %d bytes, this one has %d", wire.MaxCopiedID, len(m.ClientID))
	}
	conn, err := c.connected(ctx)
	if err != nil {
		return err
	}
	if !slices.Contains(conn.ack.Capabilities, wire.CapSealedGroups) {
		return ErrGroupsUnsorted
	}
	return nil
}

// sendCopies sends a copy to each peer that can't open a message to many. Each copy's
// ClientID is derived from the message's, so repeating all of this is safe.
func (c *Client) sendCopies(ctx context.Context, m *Outgoing, ack *wire.Ack, receipt *Receipt) error {
	list := ack.Unopened
	receipt.MoreUnopened = ack.MoreUnopened
	if ack.Repeated {
		earlier, err := c.awaitUnopened(ctx, ack.MessageID)
		if err != nil {
			return fmt.Errorf("send: who can't open the message: %w", err)
		}
		receipt.MoreUnopened += max(0, len(earlier)-wire.MaxUnopened)
		list = append(list, earlier[:min(len(earlier), wire.MaxUnopened)]...)
	}
	for i := range list {
		one := Copy{Key: list[i].Pubkey, Member: list[i].MemberPubkey, Name: list[i].Name}
		if err := c.sendCopy(ctx, m, &list[i], &one); err != nil {
			return fmt.Errorf("send: %d of %d copies are not with the broker: %w", len(list)-i, len(list), err)
		}
		receipt.Copies = append(receipt.Copies, one)
	}
	return nil
}

// sendCopy sends one copy, or finds out why that is impossible. It returns an error when
// it can't find out.
func (c *Client) sendCopy(ctx context.Context, m *Outgoing, u *wire.Unopened, one *Copy) error {
	if u.Pubkey != u.MemberPubkey && u.Attestation == nil {
		one.Reason = doubtNoAttestation
		return nil
	}
	// The attestation of a session that has been connected for long may have expired. It
	// was valid when the session connected.
	at := time.Now()
	if u.Attestation != nil {
		at = earlier(at, time.UnixMilli(u.Attestation.ExpiresAt-1))
	}
	if _, one.Reason = vouched(u.Pubkey, u.MemberPubkey, u.Attestation, at); one.Reason != "" {
		return nil
	}
	f := sendFrame{
		ClientID: wire.CopyID(m.ClientID, u.Pubkey), Priority: m.Priority, ReplyTo: m.ReplyTo, Mentions: m.Mentions,
		BodyVersion: wire.BodyCopy,
	}
	if f.Priority == "" {
		f.Priority = wire.Next
	}
	nonce, ciphertext, why := sealCopy(c.o.pair(), u.Pubkey, m.Body)
	if one.Reason = why; why != "" {
		return nil
	}
	f.Nonce, f.Ciphertext = nonce, ciphertext
	frame, err := f.encode([]wire.Target{{Kind: wire.TargetKey, Key: u.Pubkey}})
	if err != nil {
		return err
	}
	_, err = c.submit(ctx, f.ClientID, frame)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Final {
		one.Reason = refused.Reason
		return nil
	}
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// awaitUnopened is unopenedOf, repeated until the broker answers.
func (c *Client) awaitUnopened(ctx context.Context, messageID string) ([]wire.Unopened, error) {
	var pauses backoff
	for {
		list, err := c.unopenedOf(ctx, messageID)
		var refused *RequestError
		away := errors.Is(err, ErrDisconnected) || errors.Is(err, context.DeadlineExceeded) ||
			errors.As(err, &refused) && refused.Code == wire.CodeTryAgain
		if !away || ctx.Err() != nil {
			return list, err
		}
		c.delayed(err.Error())
		if !sleep(ctx, pauses.next()) {
			return nil, err
		}
	}
}

// unopenedOf asks the broker which peers could not open an earlier message and have not
// got a copy of it.
func (c *Client) unopenedOf(ctx context.Context, messageID string) ([]wire.Unopened, error) {
	status, err := c.MessageStatus(ctx, messageID)
	if err != nil {
		return nil, err
	}
	var list []wire.Unopened
	for i := range status.Recipients {
		if r := &status.Recipients[i]; r.State == wire.StateUnopened {
			list = append(list, wire.Unopened{Pubkey: r.Pubkey, Name: r.Name})
		}
	}
	if len(list) == 0 {
		return nil, nil
	}
	rows, members, err := c.Roster(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list {
		u := &list[i]
		for j := range members {
			if members[j].Pubkey == u.Pubkey {
				u.MemberPubkey = u.Pubkey
			}
		}
		for j := range rows {
			if rows[j].Pubkey == u.Pubkey {
				u.MemberPubkey, u.Attestation = rows[j].MemberPubkey, rows[j].Attestation
			}
		}
	}
	return list, nil
}

// Unreached says which peers a message to many does not reach, and why. It returns "" if
// the message reaches all of them.
func (r *Receipt) Unreached() string {
	var parts []string
	for i := range r.Copies {
		if one := &r.Copies[i]; one.Reason != "" {
			parts = append(parts, fmt.Sprintf("%s (%s)", visible.Line(one.Name, visible.People), visible.Line(one.Reason, visible.People)))
		}
	}
	if r.MoreUnopened > 0 {
		parts = append(parts, fmt.Sprintf("%d more", r.MoreUnopened))
	}
	if len(parts) == 0 {
		return ""
	}
	return "not for " + strings.Join(parts, ", ") + ": these clients can't open messages to groups, and get no copy"
}

// sealCopy seals a body for one key. If that can never work, it says why.
func sealCopy(own identity.KeyPair, to wire.Key, body []byte) (nonce, ciphertext, why string) {
	nonce, ciphertext, err := envelope.SealDirect(own, to, body)
	if err != nil {
		return "", "", err.Error()
	}
	return nonce, ciphertext, ""
}
