package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/claudemesh/claudemesh/visible"
	"github.com/claudemesh/claudemesh/wire"
)

// answerTimeout is how long a request waits for its answer, unless its context
// ends earlier.
const answerTimeout = 10 * time.Second

// object is a frame to be written, by field name.
type object map[string]any

// request writes a frame and reads the answer into v; nil v for answers that
// only say that it was done. It fails with a *RequestError when the broker
// refuses, with ErrDisconnected when the connection ends first.
func (c *Client) request(ctx context.Context, typ string, frame object, v any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
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

// notify writes a frame that has no answer.
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

// ListMembers returns the members of the mesh, removed ones too.
func (c *Client) ListMembers(ctx context.Context) ([]wire.MemberRow, error) {
	var answer wire.Members
	err := c.request(ctx, wire.TypeMemberList, nil, &answer)
	return answer.Members, err
}

// MessageStatus tells how far a message came. The id may be 8 characters or
// more of its start or, for one's own newest messages, of its end. For the sender and admins.
func (c *Client) MessageStatus(ctx context.Context, messageID string) (wire.MessageStatusResult, error) {
	var answer wire.MessageStatusResult
	err := c.request(ctx, wire.TypeMessageStatus, object{"messageId": messageID}, &answer)
	return answer, err
}

// SetStatus says by hand what this peer is doing. The broker does not answer.
func (c *Client) SetStatus(ctx context.Context, s wire.Status) error {
	return c.notify(ctx, wire.TypeSetStatus, object{"status": s})
}

// HookStatus is what is known of a session without its word.
type HookStatus struct {
	Status wire.Status
	// Reason, e.g. "waiting", is shown beside the status and cut at
	// wire.MaxReasonLen; "" for none.
	Reason string
	// CannotRead is why the session can't read what is sent to it, cut at
	// wire.MaxCannotReadLen; "": it can.
	CannotRead string
}

// SetHookStatus passes on what a hook of the session tells of it; the status gives way
// to a dnd that was set by hand. The broker does not answer.
func (c *Client) SetHookStatus(ctx context.Context, s HookStatus) error {
	frame := object{"status": s.Status, "source": wire.SourceHook, "cannotRead": visible.Cut(s.CannotRead, wire.MaxCannotReadLen, visible.Bytes)}
	if s.Reason != "" {
		frame["reason"] = visible.Cut(s.Reason, wire.MaxReasonLen, visible.Bytes)
	}
	return c.notify(ctx, wire.TypeSetStatus, frame)
}

// SetSummary says in a line what this peer is at. The broker does not answer.
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
