package wire

import (
	"encoding/json"
)

// Types of the messages that the broker sends.
const (
	TypeHelloAck            = "hello_ack"
	TypeError               = "error"
	TypeAck                 = "ack"
	TypePush                = "push"
	TypePeersList           = "peers_list"
	TypeMessageStatusResult = "message_status_result"

	// Extensions of this broker; see SPEC.md.
	TypeCaughtUp      = "caught_up"
	TypeRosterChanged = "roster_changed"
	TypeInviteCreated = "invite_created"
	TypeInvites       = "invites"
	TypeMembers       = "members"
	TypeAuditEntries  = "audit_entries"
)

// HelloAck answers both hellos.
type HelloAck struct {
	Type              string        `json:"type"`
	PresenceID        ID            `json:"presenceId"`
	MemberDisplayName string        `json:"memberDisplayName"`
	MemberProfile     MemberProfile `json:"memberProfile"`
	MeshPolicy        MeshPolicy    `json:"meshPolicy"`
	// Services is an empty list in the answer to hello, and absent after session_hello.
	Services *[]string `json:"services,omitempty"`

	Restored       bool            `json:"restored,omitempty"`
	LastSummary    string          `json:"lastSummary,omitempty"`
	LastSeenAt     *Time           `json:"lastSeenAt,omitempty"`
	RestoredGroups []Group         `json:"restoredGroups,omitempty"`
	RestoredStats  json.RawMessage `json:"restoredStats,omitempty"`

	// Extensions: what this broker supports beyond v1, and its clock.
	Capabilities []string `json:"capabilities,omitempty"`
	ServerTime   Time     `json:"serverTime"`

	// Audit is there if the hello had an auditSize and the storage answered in time.
	Audit *Checkpoints `json:"audit,omitempty"`
}

// Checkpoints are signed notes about the mesh's audit log. SPEC.md says what they mean;
// package audit reads them.
type Checkpoints struct {
	Verifier string   `json:"verifier"`           // the key that signs them, as a verifier key
	Newest   string   `json:"newest"`             // checkpoint of the log as it is
	Kept     string   `json:"kept,omitempty"`     // checkpoint of the size that the hello named, if Newest is of another
	Pruned   string   `json:"pruned,omitempty"`   // checkpoint of where the entries begin, if older ones were deleted
	Restores []string `json:"restores,omitempty"` // announcements of restores, oldest first
}

// MemberProfile is what the mesh knows about the member.
type MemberProfile struct {
	RoleTag     *string `json:"roleTag"`
	Groups      []Group `json:"groups"` // never nil
	MessageMode string  `json:"messageMode"`
}

// MeshPolicy says what a member may change in its own profile.
type MeshPolicy struct {
	SelfEditable SelfEditable `json:"selfEditable"`
}

// SelfEditable is part of MeshPolicy.
type SelfEditable struct {
	DisplayName bool `json:"displayName"`
	RoleTag     bool `json:"roleTag"`
	Groups      bool `json:"groups"`
	MessageMode bool `json:"messageMode"`
}

// Error says that the broker couldn't serve a message, and why.
type Error struct {
	Type    string `json:"type"`
	Code    Code   `json:"code"`
	Message string `json:"message"`
	ReqID   string `json:"_reqId,omitempty"`
}

// NewError makes an error message.
func NewError(code Code, message, reqID string) Error {
	return Error{TypeError, code, message, reqID}
}

// Ack answers send, set_visible and set_profile.
type Ack struct {
	ID        string // the client's id of the message or request
	MessageID string // "" when refused
	Queued    bool
	Error     string
	ReqID     string

	// Extensions for a message that is sealed under the mesh key.
	Unopened     []Unopened // the first MaxUnopened peers that can't open the message
	MoreUnopened int        // how many more such peers there are
	Repeated     bool       // the broker accepted the message before; message_status lists the peers that can't open it
}

// MaxUnopened is the maximum number of peers in Ack.Unopened.
const MaxUnopened = 256

// Unopened is an addressee of a message to many that didn't get the message because
// its client hasn't announced CapSealedGroups.
type Unopened struct {
	Pubkey       Key          `json:"pubkey"`
	MemberPubkey Key          `json:"memberPubkey"`
	Name         string       `json:"name"`
	Attestation  *Attestation `json:"attestation,omitempty"` // of Pubkey
}

// AppendJSON appends the ack's frame to b.
func (a *Ack) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"type":"ack","id":`...), a.ID)
	b = appendString(append(b, `,"messageId":`...), a.MessageID)
	if a.Queued {
		b = append(b, `,"queued":true`...)
	} else {
		b = append(b, `,"queued":false`...)
	}
	b = appendOptional(b, `,"error":`, a.Error)
	b = appendOptional(b, `,"_reqId":`, a.ReqID)
	if a.Repeated {
		b = append(b, `,"repeated":true`...)
	}
	for i := range a.Unopened {
		b = append(b, [2]string{`,"unopened":[`, `,`}[min(i, 1)]...)
		b = a.Unopened[i].appendJSON(b)
	}
	if len(a.Unopened) > 0 {
		b = append(b, ']')
	}
	if a.MoreUnopened > 0 {
		b = append(append(b, `,"moreUnopened":`...), itoa(int64(a.MoreUnopened))...)
	}
	return append(b, '}')
}

func (u *Unopened) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"pubkey":`...), u.Pubkey.String())
	b = appendString(append(b, `,"memberPubkey":`...), u.MemberPubkey.String())
	b = appendString(append(b, `,"name":`...), u.Name)
	if u.Attestation != nil {
		b = u.Attestation.appendJSON(append(b, `,"attestation":`...))
	}
	return append(b, '}')
}

// Events of a system push.
const (
	EventPeerJoined     = "peer_joined"
	EventPeerReturned   = "peer_returned"
	EventPeerLeft       = "peer_left"
	EventPeerHidden     = "peer_hidden"
	EventPeerVisible    = "peer_visible"
	EventProfileUpdated = "profile_updated"
)

// SystemPush tells a peer that another peer joined, left or changed. The broker never
// queues it.
type SystemPush struct {
	Type         string    `json:"type"`    // "push"
	Subtype      string    `json:"subtype"` // "system"
	Event        string    `json:"event"`
	EventData    EventData `json:"eventData"`
	MessageID    string    `json:"messageId"` // UUIDv4
	MeshID       ID        `json:"meshId"`
	SenderPubkey string    `json:"senderPubkey"` // "system"
	Priority     Priority  `json:"priority"`     // low
	Nonce        string    `json:"nonce"`        // ""
	Ciphertext   string    `json:"ciphertext"`   // ""
	CreatedAt    Time      `json:"createdAt"`
}

// EventData describes the peer that a system push is about.
type EventData struct {
	Name       string   `json:"name"`
	Pubkey     Key      `json:"pubkey"`
	Groups     *[]Group `json:"groups,omitempty"` // only in peer_joined and peer_returned
	LastSeenAt *Time    `json:"lastSeenAt,omitempty"`
	Summary    string   `json:"summary,omitempty"`
	Profile    *Profile `json:"profile,omitempty"`
}

// MessageStatusResult answers message_status.
type MessageStatusResult struct {
	Type        string            `json:"type"`
	MessageID   string            `json:"messageId"`
	TargetSpec  string            `json:"targetSpec"`
	Delivered   bool              `json:"delivered"`
	DeliveredAt *Time             `json:"deliveredAt"` // when the last recipient got it; nil until all have it
	Recipients  []RecipientStatus `json:"recipients"`  // never nil
	ReqID       string            `json:"_reqId,omitempty"`
}

// Recipient statuses of v1.
const (
	RecipientDelivered    = "delivered"
	RecipientHeld         = "held"
	RecipientDisconnected = "disconnected"
)

// Values of RecipientStatus.State. All but StatePending are final.
const (
	StatePending = "pending" // the recipient may still get the message
	// StateUnopened means that the recipient can't open the message and got no copy of it.
	StateUnopened = "unopened"
)

// RecipientStatus is the delivery status of a message for one recipient.
type RecipientStatus struct {
	Name   string `json:"name"`
	Pubkey Key    `json:"pubkey"`
	Status string `json:"status"` // delivered, held or disconnected
	State  string `json:"state"`  // extension: StatePending, delivered, expired, gone or StateUnopened
	At     *Time  `json:"at,omitempty"`
	// CannotRead, an extension, says why the recipient can't read, as in PeerRow.
	CannotRead string `json:"cannotRead,omitempty"`
}

// CaughtUp tells a client with CapCaughtUp that the broker has sent every message that
// was queued when the client connected.
type CaughtUp struct {
	Type string `json:"type"`
}
