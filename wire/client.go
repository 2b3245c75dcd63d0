package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Types of the messages that a client sends.
const (
	TypeHello         = "hello"
	TypeSessionHello  = "session_hello"
	TypeSend          = "send"
	TypeClientAck     = "client_ack"
	TypeMessageStatus = "message_status"
	TypeListPeers     = "list_peers"
	TypeSetStatus     = "set_status"
	TypeSetSummary    = "set_summary"
	TypeSetStats      = "set_stats"
	TypeSetVisible    = "set_visible"
	TypeSetProfile    = "set_profile"
	TypeJoinGroup     = "join_group"
	TypeLeaveGroup    = "leave_group"

	// Protocol v1 requests for features that this broker doesn't have. It sends an
	// empty answer, except to mesh_info.
	TypeListSkills = "list_skills"
	TypeGetSkill   = "get_skill"
	TypeMeshInfo   = "mesh_info"
	TypeGetState   = "get_state"
	TypeListState  = "list_state"
	TypeRecall     = "recall"
	TypeTopicList  = "topic_list"
	TypeListTasks  = "list_tasks"

	// Extensions of this broker; see SPEC.md.
	TypeInviteCreate  = "invite_create"
	TypeInviteList    = "invite_list"
	TypeInviteRevoke  = "invite_revoke"
	TypeMemberList    = "member_list"
	TypeMemberSetRole = "member_set_role"
	TypeMemberRemove  = "member_remove"
	TypeGrantSet      = "grant_set"
	TypeAuditQuery    = "audit_query"
)

// Fixed limits on one message of a client. SPEC.md lists the configurable ones.
const (
	MaxGroups     = 64   // groups of one presence
	MaxMentions   = 16   // mentions of one message
	MaxTargets    = 256  // targets of one message
	MaxNameLen    = 128  // bytes of a display name, group, role, host name or model
	MaxTextLen    = 4096 // bytes of a summary, bio or working directory, or of all capabilities in a profile
	MaxClientID   = 128  // bytes of an id made by a client
	MaxStatsBytes = 4096 // bytes of the stats object
)

// Group is a group that a presence belongs to, and the presence's role in it.
type Group struct {
	Name string `json:"name"`
	Role string `json:"role,omitempty"`
}

// Hello is the first message of a member connection or of a one-shot command.
// Ids and keys keep their received form because they are part of the signed text.
type Hello struct {
	MeshID, MemberID, Pubkey string
	SessionPubkey            string // "" when absent
	Timestamp                int64  // Unix ms; 0 when missing or not a number
	Signature                string
	// AuditSize asks for Checkpoints: it is the size of the newest one that the client keeps,
	// 0 if it keeps none, and -1 if it asks for none.
	AuditSize int64
	About
}

// SessionHello is the first message of a session connection.
type SessionHello struct {
	MeshID             string
	ParentMemberID     string // "" when absent
	ParentMemberPubkey string
	SessionPubkey      string
	Attestation        Attestation
	Timestamp          int64 // Unix ms; 0 when missing or not a number
	Signature          string
	Role               string
	Succeeds           []Succession
	About
}

// Succession is a statement, signed by an old session key, that the session sending
// the hello takes over the old session's messages; see SuccessionSigningText.
type Succession struct {
	SessionPubkey string `json:"sessionPubkey"`
	Signature     string `json:"signature"`
}

// MaxSuccessions is the maximum number of sessions that one session can succeed.
const MaxSuccessions = 32

// About holds the fields that both hellos have in common: they describe the client.
type About struct {
	SessionID, Cwd        string
	PID                   int64
	DisplayName, Hostname string
	PeerType, Channel     string
	Model                 string
	Groups                []Group
	Capabilities          []string
	ProtocolVersion       string
	// Malformed names the first missing or mistyped field; nil means that there is
	// none. The handshake reports it in its order of checks, not while decoding.
	Malformed error
}

// Has reports whether the client announced a capability.
func (a *About) Has(capability string) bool {
	for _, c := range a.Capabilities {
		if c == capability {
			return true
		}
	}
	return false
}

// Capabilities that our client announces in its hello.
const (
	// CapTransient asks the broker not to treat the connection as a peer: the broker
	// neither lists nor announces it, and sends it no messages. It is for commands
	// that make one request and disconnect.
	CapTransient = "transient"
	// CapCaughtUp asks for a caught_up message when the backlog has been sent.
	CapCaughtUp = "caught_up"
	// CapSealedGroups says that the client opens messages that are sealed under the
	// mesh key, and that it sends a copy to each peer that its ack lists in Unopened.
	// A v1 client does neither.
	CapSealedGroups = "sealed_groups"
	// CapRosterChanged asks for roster_changed messages instead of a system push for
	// each peer that joins or leaves.
	CapRosterChanged = "roster_changed"
)

// Capabilities of the broker only.
const (
	// CapMustReach says that the broker refuses a message to many that has Send.MustReach
	// set when nobody would get it.
	CapMustReach = "must_reach"
	// CapCheckpoints says that the broker answers a hello that has an auditSize with
	// Checkpoints.
	CapCheckpoints = "checkpoints"
)

// HelloMesh reads the mesh that a hello or session_hello is for, "" if it names none.
func HelloMesh(frame *Frame) string {
	f := fields{Frame: frame}
	return f.str("meshId")
}

// DecodeHello reads a hello. It never fails: see About.Malformed.
func DecodeHello(frame *Frame) Hello {
	f := fields{Frame: frame}
	h := Hello{
		MeshID:        f.need("meshId"),
		MemberID:      f.need("memberId"),
		Pubkey:        f.need("pubkey"),
		SessionPubkey: f.str("sessionPubkey"),
		Signature:     f.need("signature"),
		Timestamp:     timestamp(frame),
		AuditSize:     -1,
	}
	if n, ok := f.integer("auditSize"); ok && n >= 0 {
		h.AuditSize = n
	}
	h.About = about(&f)
	return h
}

// DecodeSessionHello reads a session_hello. It never fails: see About.Malformed.
func DecodeSessionHello(frame *Frame) SessionHello {
	f := fields{Frame: frame}
	h := SessionHello{
		MeshID:             f.need("meshId"),
		ParentMemberID:     f.str("parentMemberId"),
		ParentMemberPubkey: f.need("parentMemberPubkey"),
		SessionPubkey:      f.need("sessionPubkey"),
		Signature:          f.need("signature"),
		Timestamp:          timestamp(frame),
		Role:               f.str("role"),
	}
	if sub := f.sub("parentAttestation"); sub != nil {
		h.Attestation = *attestation(sub)
	}
	f.each("succeeds", MaxSuccessions, func(g *fields) {
		h.Succeeds = append(h.Succeeds, Succession{g.need("sessionPubkey"), g.need("signature")})
	})
	h.About = about(&f)
	return h
}

// timestamp reads the signed time. A missing or mistyped time gives 0, so the broker
// refuses the hello with timestamp_skew and not with malformed, as v1 brokers do.
func timestamp(frame *Frame) int64 {
	n, _ := (&fields{Frame: frame}).integer("timestamp")
	return n
}

func about(f *fields) About {
	a := About{
		SessionID:       f.need("sessionId"),
		Cwd:             f.need("cwd"),
		DisplayName:     f.name("displayName"),
		Hostname:        f.name("hostname"),
		PeerType:        f.name("peerType"),
		Channel:         f.name("channel"),
		Model:           f.name("model"),
		ProtocolVersion: protocolVersion(f.Frame),
		Capabilities:    f.strs("capabilities", MaxGroups),
	}
	pid, ok := f.integer("pid")
	if !ok {
		f.fail("pid", "an integer")
	}
	a.PID = pid
	if len(a.SessionID) > MaxClientID {
		f.fail("sessionId", fmt.Sprintf("at most %d bytes", MaxClientID))
	}
	if len(a.Cwd) > MaxTextLen {
		f.fail("cwd", fmt.Sprintf("at most %d bytes", MaxTextLen))
	}
	f.each("groups", MaxGroups, func(g *fields) {
		a.Groups = append(a.Groups, g.group())
	})
	a.Malformed = f.err
	return a
}

// protocolVersion is a number in some clients and a string in others.
func protocolVersion(f *Frame) string {
	v := f.raw("protocolVersion")
	if s, ok := text(v); ok {
		return s
	}
	return string(v)
}

// SetStatus changes the sender's own status.
type SetStatus struct {
	Status Status
	Source string // SourceHook, or "" when a person sets the status
	Reason string // e.g. "waiting"; shown beside the status until it changes
	// CannotRead tells the peers why the sender can't read its messages. "" means that
	// it can; nil leaves the earlier value unchanged.
	CannotRead *string
}

// SourceHook in a set_status says that a hook of the session set the status.
const SourceHook = "hook"

// MaxReasonLen and MaxCannotReadLen bound the reasons of a status, in bytes.
const (
	MaxReasonLen     = 64
	MaxCannotReadLen = 128
)

// DecodeSetStatus reads a set_status.
func DecodeSetStatus(frame *Frame) (SetStatus, error) {
	f := fields{Frame: frame}
	m := SetStatus{Status: Status(f.need("status")), Source: f.str("source"), Reason: f.bounded("reason", MaxReasonLen)}
	if f.raw("cannotRead") != nil {
		why := f.bounded("cannotRead", MaxCannotReadLen)
		m.CannotRead = &why
	}
	if f.err == nil && !m.Status.Valid() {
		f.fail("status", "idle, working or dnd")
	}
	if m.Source != "" && m.Source != SourceHook {
		f.fail("source", "hook or absent")
	}
	return m, f.err
}

// ListPeers asks for the roster.
type ListPeers struct {
	// Since is the version of an earlier answer; "" for the whole roster.
	Since string
}

// DecodeListPeers reads a list_peers.
func DecodeListPeers(frame *Frame) (ListPeers, error) {
	f := fields{Frame: frame}
	m := ListPeers{f.str("since")}
	return m, f.err
}

// SetSummary says in one line what the sender is doing.
type SetSummary struct{ Summary string }

// DecodeSetSummary reads a set_summary.
func DecodeSetSummary(frame *Frame) (SetSummary, error) {
	f := fields{Frame: frame}
	m := SetSummary{f.bounded("summary", MaxTextLen)}
	return m, f.err
}

// SetStats carries the sender's counters, opaque to the broker.
type SetStats struct{ Stats json.RawMessage }

// DecodeSetStats reads a set_stats. The stats go to others as they are, in text frames, so
// they must be UTF-8: clients close a connection on which an invalid text frame arrives.
func DecodeSetStats(frame *Frame) (SetStats, error) {
	f := fields{Frame: frame}
	raw := f.object("stats")
	switch {
	case len(raw) > MaxStatsBytes:
		f.fail("stats", fmt.Sprintf("at most %d bytes", MaxStatsBytes))
	case !utf8.Valid(raw):
		f.fail("stats", "valid UTF-8")
	}
	return SetStats{json.RawMessage(raw.Clone())}, f.err
}

// SetVisible hides or shows the sender.
type SetVisible struct{ Visible bool }

// DecodeSetVisible reads a set_visible.
func DecodeSetVisible(frame *Frame) (SetVisible, error) {
	f := fields{Frame: frame}
	visible, ok := f.boolean("visible")
	if !ok {
		f.fail("visible", "a boolean")
	}
	return SetVisible{visible}, f.err
}

// Profile is how a peer describes itself, for people to read.
type Profile struct {
	Avatar       string   `json:"avatar,omitempty"`
	Title        string   `json:"title,omitempty"`
	Bio          string   `json:"bio,omitempty"`
	Capabilities []string `json:"capabilities,omitempty"`
}

// SetProfile changes the sender's profile. A nil field stays unchanged.
type SetProfile struct {
	Avatar, Title, Bio *string
	Capabilities       []string
}

// DecodeSetProfile reads a set_profile.
func DecodeSetProfile(frame *Frame) (SetProfile, error) {
	f := fields{Frame: frame}
	given := func(name string, read func() string) *string {
		if f.raw(name) == nil {
			return nil
		}
		text := read()
		return &text
	}
	p := SetProfile{
		Avatar: given("avatar", func() string { return f.bounded("avatar", MaxTextLen) }),
		Title:  given("title", func() string { return f.name("title") }),
		Bio:    given("bio", func() string { return f.bounded("bio", MaxTextLen) }),
	}
	if f.raw("capabilities") != nil {
		p.Capabilities = append([]string{}, f.strs("capabilities", MaxGroups)...)
		if len(strings.Join(p.Capabilities, "")) > MaxTextLen {
			f.fail("capabilities", fmt.Sprintf("at most %d bytes in all", MaxTextLen))
		}
	}
	return p, f.err
}

// Apply returns old with the changes applied. It doesn't modify old, which may be nil.
func (s *SetProfile) Apply(old *Profile) *Profile {
	var p Profile
	if old != nil {
		p = *old
	}
	for _, field := range []struct{ to, from *string }{{&p.Avatar, s.Avatar}, {&p.Title, s.Title}, {&p.Bio, s.Bio}} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
	if s.Capabilities != nil {
		p.Capabilities = s.Capabilities
	}
	return &p
}

// DecodeJoinGroup reads a join_group.
func DecodeJoinGroup(frame *Frame) (Group, error) {
	f := fields{Frame: frame}
	g := f.group()
	return g, f.err
}

// DecodeLeaveGroup reads a leave_group and returns the group's name.
func DecodeLeaveGroup(frame *Frame) (string, error) {
	f := fields{Frame: frame}
	name := f.need("name")
	return name, f.err
}
