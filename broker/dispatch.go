package broker

import (
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/mesh"
	"github.com/claudemesh/claudemesh/wire"
)

// requestError is an error that the client is told.
type requestError struct {
	code    wire.Code
	message string
}

func (e *requestError) Error() string { return e.message }

// handlers serve the requests of a connection after its hello, except send and client_ack,
// which have paths of their own. The client is told the errors that they return.
var handlers = map[string]func(*conn, *wire.Frame) error{
	wire.TypeMessageStatus: (*conn).messageStatus,
	wire.TypeListPeers:     (*conn).listPeers,
	wire.TypeSetStatus:     (*conn).setStatus,
	wire.TypeSetSummary:    (*conn).setSummary,
	wire.TypeSetStats:      (*conn).setStats,
	wire.TypeSetVisible:    (*conn).setVisible,
	wire.TypeSetProfile:    (*conn).setProfile,
	wire.TypeJoinGroup:     (*conn).joinGroup,
	wire.TypeLeaveGroup:    (*conn).leaveGroup,
	wire.TypeKick:          (*conn).kick,
	wire.TypeDisconnect:    (*conn).disconnect,
	wire.TypeBan:           (*conn).ban,
	wire.TypeUnban:         (*conn).unban,
	wire.TypeListBans:      (*conn).listBans,
	wire.TypeListSkills:    noSkills,
	wire.TypeGetSkill:      noSkill,
	wire.TypeMeshInfo:      (*conn).meshInfo,
	wire.TypeGetState:      (*conn).getState,
	wire.TypeListState:     noStates,
	wire.TypeRecall:        noMemories,
	wire.TypeTopicList:     noTopics,
	wire.TypeListTasks:     noTasks,
	wire.TypeInviteCreate:  (*conn).createInvite,
	wire.TypeInviteList:    (*conn).listInvites,
	wire.TypeInviteRevoke:  (*conn).revokeInvite,
	wire.TypeMemberList:    (*conn).listMembers,
	wire.TypeMemberSetRole: (*conn).setRole,
	wire.TypeMemberRemove:  (*conn).removeMember,
	wire.TypeGrantSet:      (*conn).setGrant,
	wire.TypeAuditQuery:    (*conn).queryAudit,
}

// dispatch serves one frame. Every frame that can't be served is answered.
func (c *conn) dispatch(frame *wire.Frame) {
	switch frame.Type {
	case wire.TypeSend:
		c.serveSend(frame)
		return
	case wire.TypeClientAck:
		c.clientAck(frame)
		return
	case wire.TypeHello, wire.TypeSessionHello:
		c.sendError(wire.CodeAlreadyHelloed, "invalid: this connection has said hello already", frame.ReqID)
		return
	}
	handle, ok := handlers[frame.Type]
	if !ok {
		c.sendError(wire.CodeUnknownType, "this broker does not offer "+quoteType(frame.Type), frame.ReqID)
		return
	}
	if prices[frame.Type].grows() { // one at a time, so that a member can't use all processors
		c.account.turn.Lock()
		defer c.account.turn.Unlock()
	}
	if err := handle(c, frame); err != nil {
		c.answerError(err, frame)
	}
}

// quoteType names a message type in an error without repeating a long text.
func quoteType(t string) string {
	if t == "" {
		return "messages without a type"
	}
	if len(t) > 64 {
		t = t[:64] + "…"
	}
	return `"` + t + `"`
}

func (c *conn) answerError(err error, frame *wire.Frame) {
	var request *requestError
	var refusal *mesh.Refusal
	var field *wire.FieldError
	switch {
	case errors.As(err, &request):
		c.sendError(request.code, request.message, frame.ReqID)
	case errors.As(err, &refusal):
		c.sendError(refusal.Code, refusal.Message, frame.ReqID)
	case errors.As(err, &field):
		c.sendError(wire.CodeInvalid, field.Error(), frame.ReqID)
	default:
		c.broker.storageFailed("read", err)
		c.broker.log.Warn("serving a request failed", zap.String("type", frame.Type), zap.Error(err))
		c.sendError(wire.CodeTryAgain, "the broker's storage is unreachable; try again", frame.ReqID)
	}
}

// peer returns an error for a transient connection, which isn't a peer.
func (c *conn) peer() error {
	if c.present == nil {
		return &requestError{wire.CodeInvalid, "a transient connection has no presence"}
	}
	return nil
}

// touch records a sign of life of the peer, at most once a second.
func (c *conn) touch() {
	now := time.Now()
	if c.present == nil || now.Sub(c.touched) < time.Second {
		return
	}
	c.touched = now
	c.room.mu.Lock()
	c.room.presences.Touch(c.present, now)
	c.room.rehomeLocked(c.member)
	c.room.mu.Unlock()
}
