package local

import (
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// The verbs of a session.
const (
	VerbSend          = "send"           // Send → Sent
	VerbPeers         = "peers"          // PeersQuery → Peers
	VerbCheck         = "check"          // Check → Checked
	VerbMessageStatus = "message-status" // MessageQuery → Message
	VerbSetSummary    = "set-summary"    // SetSummary → nothing
	VerbSetStatus     = "set-status"     // SetStatus → nothing
	VerbJoinGroup     = "join-group"     // Group → nothing
	VerbLeaveGroup    = "leave-group"    // Group → nothing
	VerbUnread        = "unread"         // nothing → Unread
	VerbWake          = "wake"           // Wake → a stream of Woken, one JSON object per line
	VerbTool          = "tool"           // the same, for PathTool
)

// Send is a message from the session, or from the member. From the member, To and Mesh are
// required, and ReplyTo must be a whole id.
type Send struct {
	// To is a name, a key or its first 8 or more digits, @group, @all or *. If it is "", the
	// message goes to the session that sent the message ReplyTo.
	To       string        `json:"to"`
	Text     string        `json:"text"`
	Priority wire.Priority `json:"priority,omitempty"` // "" means next
	ReplyTo  string        `json:"replyTo,omitempty"`  // id of a message, or its first or last 8 characters
	Mesh     string        `json:"mesh,omitempty"`     // required if the session is in several meshes
	ClientID string        `json:"clientId,omitempty"` // idempotency key, for a caller that may repeat the call; "" means a new one
}

// Sent answers Send. The message is at least on disk; State says more.
type Sent struct {
	ID    string `json:"id"` // for message_status; the client_message_id
	State State  `json:"state"`
	To    string `json:"to"`             // name of the recipient
	Note  string `json:"note,omitempty"` // for the sender: the recipient is away, not verified or busy
	// MessageID is the broker's id of the message, or "" if the broker doesn't have it yet.
	MessageID string `json:"messageId,omitempty"`
	// Verified reports whether the recipient's member vouches for the key. It is nil for a
	// message to many, and if the broker has not said whose key it is. Doubt says why not.
	Verified *bool  `json:"verified,omitempty"`
	Doubt    string `json:"doubt,omitempty"`
}

// State is the state of a sent message.
type State string

// The states of a sent message. A message goes through the first four in this order, or ends
// in one of the last four.
const (
	Waiting   State = "waiting"    // on this machine's disk; no broker has acknowledged it yet
	Queued    State = "queued"     // the broker has it
	Delivered State = "delivered"  // the recipient's machine has it
	InContext State = "in_context" // the recipient's model has got it
	Expired   State = "expired"    // the recipient did not fetch it in time
	Refused   State = "refused"    // the recipient can't open it or doesn't want it
	Failed    State = "failed"     // the broker refuses it for good
	// Forgotten means that the broker had the message and no longer knows it: it was restored from
	// a backup, or has deleted the message because of its age. The message may have arrived.
	Forgotten State = "forgotten"
)

// PeersQuery asks for the peers.
type PeersQuery struct {
	Mesh string `json:"mesh,omitempty"` // "" means all meshes of the session
}

// Peers answers PeersQuery.
type Peers struct {
	Peers []Peer `json:"peers"`
	Left  int    `json:"left,omitempty"` // number of further peers that did not fit
}

// RoleDaemon is the role of a peer that is the daemon of a member.
const RoleDaemon = "control-plane"

// WithoutDaemons returns the peers without the daemons of members of which a session is there, and
// of the caller's own member. It works in place.
func WithoutDaemons(peers []Peer) []Peer {
	sessions := make(map[[2]string]bool) // of which mesh and member
	for i := range peers {
		if p := &peers[i]; p.Role != RoleDaemon {
			sessions[[2]string{p.Mesh, p.Member}] = true
		}
	}
	return slices.DeleteFunc(peers, func(p Peer) bool {
		return p.Role == RoleDaemon && (p.Own || sessions[[2]string{p.Mesh, p.Member}])
	})
}

// Peer is a peer in a mesh of the session.
type Peer struct {
	Name     string       `json:"name"`
	Member   string       `json:"member"` // the first known name of the member
	Key      wire.Key     `json:"key"`
	Mesh     string       `json:"mesh"` // slug
	Role     string       `json:"role"` // session, or RoleDaemon
	Status   wire.Status  `json:"status"`
	Reason   string       `json:"reason,omitempty"`
	Online   bool         `json:"online"`
	Summary  string       `json:"summary,omitempty"`
	Groups   []wire.Group `json:"groups,omitempty"`
	Cwd      string       `json:"cwd,omitempty"`
	Hostname string       `json:"hostname,omitempty"`
	Own      bool         `json:"own,omitempty"` // another session of the same member
	Verified bool         `json:"verified"`      // the member vouches for the key
	Compared bool         `json:"compared"`      // and the user has compared the member's key by voice
	Doubt    string       `json:"doubt,omitempty"`
	You      bool         `json:"you,omitempty"` // this session itself
	// CannotRead is the peer's own explanation why it can't read messages.
	CannotRead string `json:"cannotRead,omitempty"`
}

// Check fetches unread messages, or a part of one message.
type Check struct {
	ToolUseID string `json:"toolUseId,omitempty"`
	MessageID string `json:"messageId,omitempty"` // fetch this message, read or unread
	Offset    int    `json:"offset,omitempty"`    // with MessageID: number of characters to skip
	Limit     int    `json:"limit,omitempty"`     // maximum number of messages; 0 means as many as fit
}

// Checked answers Check.
type Checked struct {
	Messages  []Message `json:"messages"`
	Remaining int       `json:"remaining"` // number of unread messages that did not fit
}

// Message is a received message for the model. All text comes from others.
type Message struct {
	ID        string        `json:"id"`
	From      string        `json:"from"`   // display name
	Member    string        `json:"member"` // the first known name of the member
	Key       wire.Key      `json:"key"`    // key to which an answer goes
	Role      string        `json:"role"`   // the member's role in the mesh: owner, admin or member; "" if unknown
	Mesh      string        `json:"mesh"`
	Verified  bool          `json:"verified"`
	Doubt     string        `json:"doubt,omitempty"`
	Sealing   string        `json:"sealing"`      // peer.Sealing
	To        []string      `json:"to,omitempty"` // inbox.Stored.To
	Priority  wire.Priority `json:"priority"`
	ReplyTo   string        `json:"replyTo,omitempty"`
	CreatedAt time.Time     `json:"createdAt"`
	Text      string        `json:"text"`
	Offset    int           `json:"offset,omitempty"` // number of characters before Text
	Length    int           `json:"length"`           // of the whole text, in characters
	Error     string        `json:"error,omitempty"`  // why there is no text
	// MaybeSeen means that the daemon has returned the message to the session before, but it is
	// unknown whether it reached the session's context.
	MaybeSeen bool `json:"maybeSeen,omitempty"`
}

// MessageQuery asks for the status of a sent message.
type MessageQuery struct {
	ID string `json:"id"` // as in Sent, or its first or last 8 characters
}

// MessageStatus answers MessageQuery.
type MessageStatus struct {
	ID         string            `json:"id"`
	MeshID     string            `json:"meshId"`
	Target     string            `json:"target"`              // as on the wire
	MessageID  string            `json:"messageId,omitempty"` // the broker's
	To         string            `json:"to"`
	State      State             `json:"state"` // the least advanced state of all recipients
	Reason     string            `json:"reason,omitempty"`
	SentAt     time.Time         `json:"sentAt"`
	Recipients []RecipientStatus `json:"recipients"`
}

// RecipientStatus is the state of a message for one recipient.
type RecipientStatus struct {
	Name  string    `json:"name"`
	Key   wire.Key  `json:"key"`
	State State     `json:"state"`
	At    time.Time `json:"at,omitzero"`
	// Signed means that the recipient has signed State. Otherwise State comes from the broker.
	Signed bool   `json:"signed"`
	Reason string `json:"reason,omitempty"`
	// CannotRead says why the recipient can't read messages at the moment.
	CannotRead string `json:"cannotRead,omitempty"`
}

// SetSummary sets the one-line summary of the session's work.
type SetSummary struct {
	Summary string `json:"summary"`
}

// SetStatus sets DND. Setting Idle or Working ends it.
type SetStatus struct {
	Status wire.Status `json:"status"`
}

// Group is a group to join or leave.
type Group struct {
	Name string `json:"name"`
	Role string `json:"role,omitempty"`
}

// Unread is what the status line shows.
type Unread struct {
	Peers     int         `json:"peers"` // other sessions and members that are online
	Unread    int         `json:"unread"`
	Status    wire.Status `json:"status"`
	Connected bool        `json:"connected"` // to the brokers of all its meshes
	Meshes    []string    `json:"meshes"`    // slugs
}

// Path is a way to get a pointer into a session.
type Path string

// The paths, best first.
const (
	PathMonitor Path = "monitor" // a plugin's monitor
	PathChannel Path = "channel" // an MCP channel
	PathWaiter  Path = "waiter"  // an asyncRewake hook
	PathHooks   Path = "hooks"   // at the next prompt or tool
)

// The reasons why a session can't read its messages, for its peers.
const (
	NoHooks  = "hooks are off on that machine"
	NoTool   = "its claudemesh tool does not run"
	NoPlugin = "it was started without claudemesh's plugin"
)

// PathTool delivers no pointers. Its stream only shows that the process that offers
// check_messages to the session is alive.
const PathTool Path = "tool"

// Wake asks for pointers to unread messages. The answer is a stream. It ends if a newer path of
// the same kind takes over (Woken.Over), if the session ends, or if the daemon stops. The
// stream of a waiter also ends after one pointer.
type Wake struct {
	Path Path `json:"path"`
	PID  int  `json:"pid"` // of claude
}

// Woken is one line of the stream. The daemon sends at least one line every 30 s; an empty one
// only shows that it is alive.
type Woken struct {
	Pointer string `json:"pointer,omitempty"`
	// Over means that the caller is no longer needed and must not reconnect.
	Over bool `json:"over,omitempty"`
}
