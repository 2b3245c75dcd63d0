package wire

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
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

// HelloAck is the answer to both hellos.
type HelloAck struct {
	Type              string        `json:"type"`
	PresenceID        ID            `json:"presenceId"`
	MemberDisplayName string        `json:"memberDisplayName"`
	MemberProfile     MemberProfile `json:"memberProfile"`
	MeshPolicy        MeshPolicy    `json:"meshPolicy"`
	// Services is present, and empty, in the answer to hello; absent after session_hello.
	Services *[]string `json:"services,omitempty"`

	Restored       bool            `json:"restored,omitempty"`
	LastSummary    string          `json:"lastSummary,omitempty"`
	LastSeenAt     *Time           `json:"lastSeenAt,omitempty"`
	RestoredGroups []Group         `json:"restoredGroups,omitempty"`
	RestoredStats  json.RawMessage `json:"restoredStats,omitempty"`

	// Extensions: what this broker can do beyond v1, and its clock.
	Capabilities []string `json:"capabilities,omitempty"`
	ServerTime   Time     `json:"serverTime"`
}

// MemberProfile is what the mesh knows of the member.
type MemberProfile struct {
	RoleTag     *string `json:"roleTag"`
	Groups      []Group `json:"groups"` // never nil
	MessageMode string  `json:"messageMode"`
}

// MeshPolicy tells what a member may change of its own profile.
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

// Error tells that a message could not be served, and why.
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

// Ack answers a send, and the set_visible and set_profile requests.
type Ack struct {
	ID        string // the client's id of the message or request
	MessageID string // "" when refused
	Queued    bool
	Error     string
	ReqID     string

	// Extensions, of the ack of a message that is sealed under the mesh key.
	Unopened     []Unopened // the first MaxUnopened peers who were not sent it
	MoreUnopened int        // how many more there are
	Repeated     bool       // it was accepted before: message_status knows who was not sent it
}

// MaxUnopened is how many peers an ack names.
const MaxUnopened = 256

// Unopened is a peer that a message to many was meant for. The broker did not send
// it the message: its client has not announced CapSealedGroups.
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

// Push carries a message to one of its recipients.
type Push struct {
	MessageID          string
	MeshID             ID
	SenderPubkey       Key // the sender's session key if it has one, else its member key
	SenderMemberPubkey Key // zero: left out
	SenderMemberID     ID  // zero: left out
	SenderName         string
	Priority           Priority
	Nonce, Ciphertext  string
	CreatedAt          time.Time
	ClientID           string
	Fingerprint        string
	Topic              string
	ReplyTo            string
	Mentions           []string
	BodyVersion        int64
	KeyEpoch           int64
	// SenderAttestation is the sender's member's word for SenderPubkey; nil when
	// that is no session's key.
	SenderAttestation *Attestation
}

// Versions of a message's body: how it is sealed and what is inside. The broker
// does not look inside. 0 is protocol v1: a text in a crypto_box, or the base64 of
// a text.
const (
	BodyMesh       = 2 // a text, under the mesh key
	BodySignedMesh = 3 // the sender's signature and a text, under the mesh key
	BodyText       = 4 // a text in a crypto_box; the sender takes receipts
	BodyReceipt    = 5 // a receipt in a crypto_box
	BodyCopy       = 6 // as BodyText: one peer's copy of a message to many; see CopyID
)

// SealedForMany reports whether a message is sealed under the mesh key, so that
// only clients with CapSealedGroups can open it.
func SealedForMany(targetSpec string, bodyVersion int64) bool {
	return bodyVersion >= BodyMesh && targetSpec != "" && strings.IndexByte("*@[", targetSpec[0]) >= 0
}

// copyKeyLen is how many digits of its recipient's key end the id of a copy.
const copyKeyLen = 16

// MaxCopiedID bounds the client_message_id of a message that may need copies, in bytes.
const MaxCopiedID = MaxClientID - 1 - copyKeyLen

// CopyID returns the client_message_id of a copy of a message to many, for one key.
func CopyID(clientID string, to Key) string { return clientID + "/" + to.String()[:copyKeyLen] }

// CopyOf returns the client_message_id of the message to many that a copy is of. It
// returns false when id is not the id of a copy for that key.
func CopyOf(id string, to Key) (clientID string, ok bool) {
	return strings.CutSuffix(id, "/"+to.String()[:copyKeyLen])
}

// AppendJSON appends the push's frame to b.
func (p *Push) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"type":"push","messageId":`...), p.MessageID)
	b = appendString(append(b, `,"meshId":`...), p.MeshID.String())
	b = appendString(append(b, `,"senderPubkey":`...), p.SenderPubkey.String())
	if !p.SenderMemberPubkey.IsZero() {
		b = appendString(append(b, `,"senderMemberPubkey":`...), p.SenderMemberPubkey.String())
	}
	b = appendOptional(b, `,"senderMemberId":`, p.SenderMemberID.String())
	b = appendOptional(b, `,"senderName":`, p.SenderName)
	b = appendString(append(b, `,"priority":`...), string(p.Priority))
	b = appendString(append(b, `,"nonce":`...), p.Nonce)
	b = appendString(append(b, `,"ciphertext":`...), p.Ciphertext)
	b = append(b, `,"createdAt":"`...)
	b = append(p.CreatedAt.UTC().AppendFormat(b, TimeFormat), '"')
	b = appendOptional(b, `,"client_message_id":`, p.ClientID)
	b = appendOptional(b, `,"request_fingerprint":`, p.Fingerprint)
	b = appendOptional(b, `,"topic":`, p.Topic)
	b = appendOptional(b, `,"replyToId":`, p.ReplyTo)
	if len(p.Mentions) > 0 {
		b = append(b, `,"mentions":[`...)
		for i, m := range p.Mentions {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, m)
		}
		b = append(b, ']')
	}
	if p.BodyVersion != 0 {
		b = append(append(b, `,"bodyVersion":`...), itoa(p.BodyVersion)...)
	}
	if p.KeyEpoch != 0 {
		b = append(append(b, `,"keyEpoch":`...), itoa(p.KeyEpoch)...)
	}
	if p.SenderAttestation != nil {
		b = p.SenderAttestation.appendJSON(append(b, `,"senderAttestation":`...))
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	if isVerbatim(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	b, _ = jsontext.AppendQuote(b, s) // invalid UTF-8 becomes U+FFFD
	return b
}

// isVerbatim reports whether a JSON string has s just as it is.
func isVerbatim(s string) bool {
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		control := (w - lowBits*' ') &^ w
		if (w|control|hasByte(w, '"')|hasByte(w, '\\'))&highBits != 0 {
			return false
		}
		s = s[8:]
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}

func appendOptional(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, name...), s)
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

// SystemPush tells peers of each other's coming and going. It is never queued.
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

// EventData says whom a system push is about.
type EventData struct {
	Name       string   `json:"name"`
	Pubkey     Key      `json:"pubkey"`
	Groups     *[]Group `json:"groups,omitempty"` // joined and returned
	LastSeenAt *Time    `json:"lastSeenAt,omitempty"`
	Summary    string   `json:"summary,omitempty"`
	Profile    *Profile `json:"profile,omitempty"`
}

// PeersList answers list_peers.
type PeersList struct {
	Type  string    `json:"type"`
	Peers []PeerRow `json:"peers"` // never nil
	ReqID string    `json:"_reqId,omitempty"`
	// Extensions. Version names the state of the roster, for a later list_peers. Since
	// is that of the request, when Peers are only the rows that have changed since
	// then and Gone are the presences to be struck out; "" when Peers are all.
	Version string `json:"version,omitempty"`
	Since   string `json:"since,omitempty"`
	Gone    []ID   `json:"gone,omitempty"`
}

// Roles of a presence.
const (
	RoleControlPlane = "control-plane"
	RoleSession      = "session"
)

// PeerRow is one presence, by its own facts.
type PeerRow struct {
	Pubkey       Key             `json:"pubkey"` // session key, else member key
	MemberPubkey Key             `json:"memberPubkey"`
	DisplayName  string          `json:"displayName"`
	Status       Status          `json:"status"`
	Summary      *string         `json:"summary"`
	Groups       []Group         `json:"groups"` // never nil
	SessionID    string          `json:"sessionId"`
	ConnectedAt  Time            `json:"connectedAt"`
	Cwd          string          `json:"cwd"`
	PeerRole     string          `json:"peerRole"`
	Hostname     string          `json:"hostname,omitempty"`
	PeerType     string          `json:"peerType,omitempty"`
	Channel      string          `json:"channel,omitempty"`
	Model        string          `json:"model,omitempty"`
	Stats        json.RawMessage `json:"stats,omitempty"`
	Profile      *Profile        `json:"profile,omitempty"`
	Visible      bool            `json:"visible"`
	// Extensions.
	PresenceID ID   `json:"presenceId"`
	Online     bool `json:"online"` // false: leased, its socket is away for the moment
	// MemberRole is the member's role in the mesh.
	MemberRole string `json:"memberRole,omitempty"`
	// SealedGroups tells that the client has announced CapSealedGroups.
	SealedGroups bool `json:"sealedGroups,omitempty"`
	// StatusReason is what the peer gave with its status, e.g. "waiting".
	StatusReason string `json:"statusReason,omitempty"`
	// CannotRead is why the peer can't read what is sent to it, in its own words.
	CannotRead string `json:"cannotRead,omitempty"`
	// Attestation is the member's word for a session's key; nil for others.
	Attestation *Attestation `json:"attestation,omitempty"`
}

// AppendJSON appends the list to b. A roster may have thousands of rows; encoding/json
// takes several times as long.
func (l *PeersList) AppendJSON(b []byte) []byte {
	b = append(b, `{"type":"peers_list","peers":[`...)
	for i := range l.Peers {
		if i > 0 {
			b = append(b, ',')
		}
		b = l.Peers[i].appendJSON(b)
	}
	b = appendOptional(append(b, ']'), `,"_reqId":`, l.ReqID)
	b = appendOptional(b, `,"version":`, l.Version)
	b = appendOptional(b, `,"since":`, l.Since)
	if len(l.Gone) > 0 {
		b = append(b, `,"gone":[`...)
		for i, id := range l.Gone {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, id.String())
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func (r *PeerRow) appendJSON(b []byte) []byte {
	b = hex.AppendEncode(append(b, `{"pubkey":"`...), r.Pubkey[:])
	b = hex.AppendEncode(append(b, `","memberPubkey":"`...), r.MemberPubkey[:])
	b = appendString(append(b, `","displayName":`...), r.DisplayName)
	b = appendString(append(b, `,"status":`...), string(r.Status))
	if r.Summary != nil {
		b = appendString(append(b, `,"summary":`...), *r.Summary)
	} else {
		b = append(b, `,"summary":null`...)
	}
	b = append(b, `,"groups":[`...)
	for i, g := range r.Groups {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"name":`...), g.Name)
		b = append(appendOptional(b, `,"role":`, g.Role), '}')
	}
	b = appendString(append(b, `],"sessionId":`...), r.SessionID)
	b = append(b, `,"connectedAt":"`...)
	b = append(r.ConnectedAt.UTC().AppendFormat(b, TimeFormat), '"')
	b = appendString(append(b, `,"cwd":`...), r.Cwd)
	b = appendString(append(b, `,"peerRole":`...), r.PeerRole)
	b = appendOptional(b, `,"hostname":`, r.Hostname)
	b = appendOptional(b, `,"peerType":`, r.PeerType)
	b = appendOptional(b, `,"channel":`, r.Channel)
	b = appendOptional(b, `,"model":`, r.Model)
	if len(r.Stats) > 0 {
		b = append(append(b, `,"stats":`...), r.Stats...)
	}
	if r.Profile != nil {
		b = r.Profile.appendJSON(append(b, `,"profile":`...))
	}
	b = strconv.AppendBool(append(b, `,"visible":`...), r.Visible)
	b = appendString(append(b, `,"presenceId":`...), r.PresenceID.String())
	b = strconv.AppendBool(append(b, `,"online":`...), r.Online)
	b = appendOptional(b, `,"memberRole":`, r.MemberRole)
	if r.SealedGroups {
		b = append(b, `,"sealedGroups":true`...)
	}
	b = appendOptional(b, `,"statusReason":`, r.StatusReason)
	b = appendOptional(b, `,"cannotRead":`, r.CannotRead)
	if r.Attestation != nil {
		b = r.Attestation.appendJSON(append(b, `,"attestation":`...))
	}
	return append(b, '}')
}

func (p *Profile) appendJSON(b []byte) []byte {
	text, err := json.Marshal(p)
	if err != nil { // strings can always be written
		return append(b, "null"...)
	}
	return append(b, text...)
}

// MessageStatusResult answers message_status.
type MessageStatusResult struct {
	Type        string            `json:"type"`
	MessageID   string            `json:"messageId"`
	TargetSpec  string            `json:"targetSpec"`
	Delivered   bool              `json:"delivered"`
	DeliveredAt *Time             `json:"deliveredAt"` // of the last recipient, nil until all have it
	Recipients  []RecipientStatus `json:"recipients"`  // never nil
	ReqID       string            `json:"_reqId,omitempty"`
}

// Recipient statuses of v1.
const (
	RecipientDelivered    = "delivered"
	RecipientHeld         = "held"
	RecipientDisconnected = "disconnected"
)

// StateUnopened is the state of a recipient whose client can't open the message, and
// who has got no copy of it.
const StateUnopened = "unopened"

// RecipientStatus is how far a message came for one recipient.
type RecipientStatus struct {
	Name   string `json:"name"`
	Pubkey Key    `json:"pubkey"`
	Status string `json:"status"` // delivered, held or disconnected
	State  string `json:"state"`  // extension: pending, delivered, expired, gone or StateUnopened
	At     *Time  `json:"at,omitempty"`
	// CannotRead is an extension: why the recipient can't read, as in PeerRow.
	CannotRead string `json:"cannotRead,omitempty"`
}

// CaughtUp tells a client with CapCaughtUp that everything that had been waiting
// for it when it connected has been sent.
type CaughtUp struct {
	Type string `json:"type"`
}

// RosterChanged tells a client with CapRosterChanged that peers have come, gone or
// changed since it last asked for the roster. Version is as in PeersList.
type RosterChanged struct {
	Type    string `json:"type"`
	Version string `json:"version"`
}
