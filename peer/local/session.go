package local

import (
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
	VerbWake          = "wake"           // Wake → a stream of Woken, a JSON object a line
	VerbTool          = "tool"           // the same, of PathTool
)

// Send is a message of the session, or of the member: then To and Mesh are needed, and
// ReplyTo is a whole id.
type Send struct {
	// To is a name, a key or its start (8 digits), @group, @all or *. "" with
	// ReplyTo: the session that sent that message.
	To       string        `json:"to"`
	Text     string        `json:"text"`
	Priority wire.Priority `json:"priority,omitempty"` // "": next
	ReplyTo  string        `json:"replyTo,omitempty"`  // the id of a message, or 8 characters of its start or end
	Mesh     string        `json:"mesh,omitempty"`     // needed when the session is in several
	ClientID string        `json:"clientId,omitempty"` // for a caller that may repeat the call; "": a fresh one
}

// Sent answers Send: the message is on disk, and, when State says so, further.
type Sent struct {
	ID    string `json:"id"` // for message_status; the client_message_id
	State State  `json:"state"`
	To    string `json:"to"`             // who that is, in words
	Note  string `json:"note,omitempty"` // what the sender should know: away, not verified, busy
	// MessageID is the broker's id of the message; "" before the broker has it.
	MessageID string `json:"messageId,omitempty"`
	// Verified tells whether the recipient's member vouches for the key; nil for a message
	// to many, and when the broker has not said whose the key is. Doubt says why not.
	Verified *bool  `json:"verified,omitempty"`
	Doubt    string `json:"doubt,omitempty"`
}

// State is how far a message has come.
type State string

// The states of a sent message. Each is reached at most once, in this order,
// or the message ends in one of the last three.
const (
	Waiting   State = "waiting"    // on this machine's disk: no broker has acknowledged it yet
	Queued    State = "queued"     // the broker has it
	Delivered State = "delivered"  // the recipient's machine has it
	InContext State = "in_context" // the recipient's model has got it
	Expired   State = "expired"    // nobody fetched it in time
	Refused   State = "refused"    // by the recipient: it could not be opened, or is not wanted
	Failed    State = "failed"     // by the broker, for good
)

// PeersQuery asks who is there.
type PeersQuery struct {
	Mesh string `json:"mesh,omitempty"` // "": all meshes of the session
}

// Peers answers PeersQuery.
type Peers struct {
	Peers []Peer `json:"peers"`
}

// Peer is a presence that is not the session's own.
type Peer struct {
	Name     string       `json:"name"`
	Member   string       `json:"member"` // the member's name, as it was first known
	Key      wire.Key     `json:"key"`
	Mesh     string       `json:"mesh"` // slug
	Role     string       `json:"role"` // session, control-plane
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
	// CannotRead is why the peer can't read what is sent to it, in its own words.
	CannotRead string `json:"cannotRead,omitempty"`
}

// Check fetches unread messages, or reads on in one.
type Check struct {
	ToolUseID string `json:"toolUseId,omitempty"`
	MessageID string `json:"messageId,omitempty"` // this one, read or unread
	Offset    int    `json:"offset,omitempty"`    // with MessageID: skip so many characters
	Limit     int    `json:"limit,omitempty"`     // at most so many messages; 0: as many as fit
}

// Checked answers Check.
type Checked struct {
	Messages  []Message `json:"messages"`
	Remaining int       `json:"remaining"` // unread ones that did not fit
}

// Message is a received message, for the model. All text comes from others.
type Message struct {
	ID        string        `json:"id"`
	From      string        `json:"from"`   // display name
	Member    string        `json:"member"` // the member's name, as it was first known
	Key       wire.Key      `json:"key"`    // to answer to
	Role      string        `json:"role"`   // the member's role in the mesh: owner, admin, member; "": unknown
	Mesh      string        `json:"mesh"`
	Verified  bool          `json:"verified"`
	Doubt     string        `json:"doubt,omitempty"`
	Sealing   string        `json:"sealing"`      // peer.Sealing
	To        []string      `json:"to,omitempty"` // inbox.Stored.To
	Priority  wire.Priority `json:"priority"`
	ReplyTo   string        `json:"replyTo,omitempty"`
	CreatedAt time.Time     `json:"createdAt"`
	Text      string        `json:"text"`
	Offset    int           `json:"offset,omitempty"` // Text begins after so many characters
	Length    int           `json:"length"`           // of the whole text, in characters
	Error     string        `json:"error,omitempty"`  // why there is no text
	// MaybeSeen says that the session was handed the message before, and that nobody
	// knows whether it has come into its context.
	MaybeSeen bool `json:"maybeSeen,omitempty"`
}

// MessageQuery asks how far a sent message has come.
type MessageQuery struct {
	ID string `json:"id"` // as in Sent, or 8 characters of its start or end
}

// MessageStatus answers MessageQuery.
type MessageStatus struct {
	ID         string            `json:"id"`
	MeshID     string            `json:"meshId"`
	Target     string            `json:"target"`              // as on the wire
	MessageID  string            `json:"messageId,omitempty"` // the broker's
	To         string            `json:"to"`
	State      State             `json:"state"` // the least far of the recipients
	Reason     string            `json:"reason,omitempty"`
	SentAt     time.Time         `json:"sentAt"`
	Recipients []RecipientStatus `json:"recipients"`
}

// RecipientStatus is how far a message has come with one recipient.
type RecipientStatus struct {
	Name  string    `json:"name"`
	Key   wire.Key  `json:"key"`
	State State     `json:"state"`
	At    time.Time `json:"at,omitzero"`
	// Signed tells that the recipient itself has signed for State. Otherwise it is
	// the broker's word.
	Signed bool   `json:"signed"`
	Reason string `json:"reason,omitempty"`
	// CannotRead is why the recipient can't read now what it has not read yet.
	CannotRead string `json:"cannotRead,omitempty"`
}

// SetSummary says in a line what the session is at.
type SetSummary struct {
	Summary string `json:"summary"`
}

// SetStatus sets DND, which only Idle or Working ends.
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

// The paths, the best first.
const (
	PathMonitor Path = "monitor" // a plugin's monitor
	PathChannel Path = "channel" // an MCP channel
	PathWaiter  Path = "waiter"  // an asyncRewake hook
	PathHooks   Path = "hooks"   // at the next prompt or tool
)

// Why a session can't read what is sent to it, in words for its peers.
const (
	NoHooks  = "hooks are off on that machine"
	NoTool   = "its claudemesh tool does not run"
	NoPlugin = "it was started without claudemesh's plugin"
)

// PathTool is no way to get a pointer in: the stream only shows that the process which
// offers check_messages to the session lives.
const PathTool Path = "tool"

// Wake asks to be told of messages. The answer is a stream that ends when a
// newer path of the same kind has taken over (Woken.Over), when the session ends, or with the daemon. A waiter's also ends after one pointer.
type Wake struct {
	Path Path `json:"path"`
	PID  int  `json:"pid"` // of claude
}

// Woken is one line of the stream. An empty one only shows that the daemon lives;
// there is one at least every 30 s.
type Woken struct {
	Pointer string `json:"pointer,omitempty"`
	// Over says that the caller is no longer needed and must not come back.
	Over bool `json:"over,omitempty"`
}
