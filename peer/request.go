package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// answerTimeout is how long a request waits for its answer, unless its context ends
// earlier.
const answerTimeout = 10 * time.Second

// object is a frame to write, by field name.
type object map[string]any

// request writes a frame and decodes the answer into v. If the answer has no content of
// interest, v is nil. request fails with a *RequestError if the broker refuses, and with
// ErrDisconnected if the connection ends first. It repeats a request that only reads, on
// the next connection, or when the broker has its storage back.
func (c *Client) request(ctx context.Context, typ string, frame object, v any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if c.o.OnRequest != nil {
		defer c.o.OnRequest()()
	}
	for {
		err := c.ask(ctx, typ, frame, v)
		var refused *RequestError
		switch {
		case !onlyReads(typ) || ctx.Err() != nil:
			return err
		case errors.Is(err, ErrDisconnected):
		case errors.As(err, &refused) && refused.Code == wire.CodeTryAgain && sleep(ctx, firstPause):
		default:
			return err
		}
	}
}

// onlyReads reports whether a request changes nothing.
func onlyReads(typ string) bool {
	switch typ {
	case wire.TypeListPeers, wire.TypeMemberList, wire.TypeInviteList, wire.TypeListBans, wire.TypeMessageStatus, wire.TypeAuditQuery:
		return true
	}
	return false
}

// ask is request without repetition.
func (c *Client) ask(ctx context.Context, typ string, frame object, v any) error {
	conn, err := c.connected(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", typ, err)
	}
	id := randomHex(8)
	answer, forget := conn.expect(id)
	defer forget()
	if err := conn.writeTyped(typ, id, frame); err != nil {
		return fmt.Errorf("%s: %w", typ, err)
	}
	select {
	case f := <-answer:
		return readAnswer(typ, &f, v)
	case <-conn.ctx.Done():
		select {
		case f := <-answer: // it came just before the end
			return readAnswer(typ, &f, v)
		default:
			return fmt.Errorf("%s: %w", typ, ErrDisconnected)
		}
	case <-ctx.Done():
		return fmt.Errorf("%s: the broker has not answered: %w", typ, ctx.Err())
	}
}

func readAnswer(typ string, f *wire.Frame, v any) error {
	switch f.Type {
	case wire.TypeError:
		e, err := wire.DecodeError(f)
		if err != nil {
			return fmt.Errorf("%s: %w", typ, err)
		}
		return &RequestError{e.Code, e.Message}
	case wire.TypeAck:
		ack, err := wire.DecodeAck(f)
		if err != nil {
			return fmt.Errorf("%s: %w", typ, err)
		}
		if ack.Error != "" {
			return &RequestError{wire.Code(newRefusedError(ack.Error).Code), ack.Error}
		}
	}
	if v == nil {
		return nil
	}
	return f.Unmarshal(v)
}

// notify writes a frame that the broker does not answer.
func (c *Client) notify(ctx context.Context, typ string, frame object) error {
	conn, err := c.connected(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", typ, err)
	}
	return conn.writeTyped(typ, "", frame)
}

func (c *conn) writeTyped(typ, reqID string, frame object) error {
	if frame == nil {
		frame = object{}
	}
	frame["type"] = typ
	if reqID != "" {
		frame["_reqId"] = reqID
	}
	return c.writeJSON(frame)
}

// ListMembers returns the members of the mesh, including removed ones.
func (c *Client) ListMembers(ctx context.Context) ([]wire.MemberRow, error) {
	var answer wire.Members
	err := c.request(ctx, wire.TypeMemberList, nil, &answer)
	return answer.Members, err
}

// MessageStatus returns how far a message has come. The id may be cut to 8 or more
// characters of its start or, for one's own newest messages, of its end. Only the sender
// and admins may call it.
func (c *Client) MessageStatus(ctx context.Context, messageID string) (wire.MessageStatusResult, error) {
	var answer wire.MessageStatusResult
	err := c.request(ctx, wire.TypeMessageStatus, object{"messageId": messageID}, &answer)
	return answer, err
}

// SetStatus sets by hand what this peer is doing. The broker does not answer.
func (c *Client) SetStatus(ctx context.Context, s wire.Status) error {
	return c.notify(ctx, wire.TypeSetStatus, object{"status": s})
}

// HookStatus is what the hooks of a session report about it.
type HookStatus struct {
	Status wire.Status
	// Reason, such as "waiting", is shown beside the status. It is cut at
	// wire.MaxReasonLen and may be "".
	Reason string
	// CannotRead says why the session can't read the messages that others send it. It is
	// cut at wire.MaxCannotReadLen. "" means that the session can read them.
	CannotRead string
}

// SetHookStatus reports what a hook of the session says about it. A dnd that was set by
// hand takes precedence over the status. The broker does not answer.
func (c *Client) SetHookStatus(ctx context.Context, s HookStatus) error {
	frame := object{"status": s.Status, "source": wire.SourceHook, "cannotRead": visible.Cut(s.CannotRead, wire.MaxCannotReadLen, visible.Bytes)}
	if s.Reason != "" {
		frame["reason"] = visible.Cut(s.Reason, wire.MaxReasonLen, visible.Bytes)
	}
	return c.notify(ctx, wire.TypeSetStatus, frame)
}

// SetSummary describes in one line what this peer is working on. The broker does not
// answer.
func (c *Client) SetSummary(ctx context.Context, summary string) error {
	return c.notify(ctx, wire.TypeSetSummary, object{"summary": summary})
}

// SetStats publishes counters, a JSON object of at most wire.MaxStatsBytes. The
// broker does not answer.
func (c *Client) SetStats(ctx context.Context, stats json.RawMessage) error {
	return c.notify(ctx, wire.TypeSetStats, object{"stats": stats})
}

// JoinGroup adds this peer to a group. The broker does not answer.
func (c *Client) JoinGroup(ctx context.Context, g wire.Group) error {
	frame := object{"name": g.Name}
	if g.Role != "" {
		frame["role"] = wire.CleanName(g.Role)
	}
	return c.notify(ctx, wire.TypeJoinGroup, frame)
}

// LeaveGroup takes this peer out of a group. The broker does not answer.
func (c *Client) LeaveGroup(ctx context.Context, name string) error {
	return c.notify(ctx, wire.TypeLeaveGroup, object{"name": name})
}

// SetVisible hides this peer from other members, or shows it.
func (c *Client) SetVisible(ctx context.Context, visible bool) error {
	return c.request(ctx, wire.TypeSetVisible, object{"visible": visible}, nil)
}

// SetProfile tells others about this peer.
func (c *Client) SetProfile(ctx context.Context, p wire.Profile) error {
	frame := object{"avatar": p.Avatar, "title": wire.CleanName(p.Title), "bio": p.Bio}
	if p.Capabilities != nil {
		frame["capabilities"] = p.Capabilities
	}
	return c.request(ctx, wire.TypeSetProfile, frame, nil)
}
