package wire

import "encoding/json"

// The messages in this file are extensions of this broker: they manage invites,
// members, grants and the audit log over the authenticated connection. The
// comment of each message names the roles that may send it.

// InviteCreate registers an invite. The broker never sees the secret that opens the
// invite. For a link it learns the public half of the claim key and the sealed mesh
// key; for a v1 token it learns a hash. The owner and admins may send it; only the
// owner may invite admins.
type InviteCreate struct {
	Role      string  `json:"role"`      // member or admin
	Uses      int64   `json:"uses"`      // at least 1
	ExpiresAt int64   `json:"expiresAt"` // Unix ms
	Groups    []Group `json:"groups,omitempty"`

	// Set for a broker-blind link.
	Code          string `json:"code,omitempty"`          // 16-64 of [A-Za-z0-9_-], made by the client
	ClaimPubkey   string `json:"claimPubkey,omitempty"`   // 64 hex
	SealedRootKey string `json:"sealedRootKey,omitempty"` // base64url, opaque, at most 2048 bytes

	// Set for a v1 token.
	TokenProof string `json:"tokenProof,omitempty"` // 64 hex: SHA-256 of the token
}

// DecodeInviteCreate reads an invite_create.
func DecodeInviteCreate(frame *Frame) (InviteCreate, error) {
	f := fields{Frame: frame}
	m := InviteCreate{
		Role:          f.need("role"),
		Code:          f.bounded("code", 64),
		ClaimPubkey:   f.bounded("claimPubkey", 64),
		SealedRootKey: f.bounded("sealedRootKey", 2048),
		TokenProof:    f.bounded("tokenProof", 64),
	}
	m.Uses, _ = f.integer("uses")
	m.ExpiresAt, _ = f.integer("expiresAt")
	f.each("groups", MaxGroups, func(g *fields) {
		m.Groups = append(m.Groups, g.group())
	})
	return m, f.err
}

// InviteCreated answers invite_create.
type InviteCreated struct {
	Type     string `json:"type"`
	InviteID ID     `json:"inviteId"`
	ReqID    string `json:"_reqId,omitempty"`
}

// Invites answers invite_list, which the owner and admins may send.
type Invites struct {
	Type    string      `json:"type"`
	Invites []InviteRow `json:"invites"` // never nil
	ReqID   string      `json:"_reqId,omitempty"`
}

// InviteRow is one invite, without the secret that opens it.
type InviteRow struct {
	ID        ID     `json:"id"`
	Kind      string `json:"kind"` // link or token
	Role      string `json:"role"`
	Uses      int64  `json:"uses"`
	Used      int64  `json:"used"`
	ExpiresAt Time   `json:"expiresAt"`
	Revoked   bool   `json:"revoked"`
	CreatedBy ID     `json:"createdBy"`
}

// Members answers member_list, which every member may send.
type Members struct {
	Type    string      `json:"type"`
	Members []MemberRow `json:"members"` // never nil
	ReqID   string      `json:"_reqId,omitempty"`
}

// MemberRow is one member of the mesh.
type MemberRow struct {
	ID          ID     `json:"id"`
	Pubkey      Key    `json:"pubkey"`
	DisplayName string `json:"displayName"`
	Role        string `json:"role"`
	JoinedAt    Time   `json:"joinedAt"`
	Removed     bool   `json:"removed"`
	Banned      bool   `json:"banned,omitempty"` // removed until an unban
	// Granted lists the capabilities that the requester grants this member. Nil means
	// that the defaults apply; empty means that the member is blocked.
	Granted []string `json:"granted,omitzero"`
}

// MemberSetRole changes another member's role. Only the owner may send it.
type MemberSetRole struct {
	Pubkey string
	Role   string
}

// DecodeMemberSetRole reads a member_set_role.
func DecodeMemberSetRole(frame *Frame) (MemberSetRole, error) {
	f := fields{Frame: frame}
	m := MemberSetRole{f.need("pubkey"), f.need("role")}
	return m, f.err
}

// DecodeMemberRemove reads a member_remove and returns the member's key. The owner
// and admins may send it. Nobody can remove the owner; only the owner can remove
// admins.
func DecodeMemberRemove(frame *Frame) (pubkey string, err error) {
	f := fields{Frame: frame}
	pubkey = f.need("pubkey")
	return pubkey, f.err
}

// DecodeInviteRevoke reads an invite_revoke, which the owner and admins may send,
// and returns the invite's id.
func DecodeInviteRevoke(frame *Frame) (inviteID string, err error) {
	f := fields{Frame: frame}
	inviteID = f.need("inviteId")
	return inviteID, f.err
}

// GrantSet says what another member may do to the sender of this message.
type GrantSet struct {
	Pubkey       string   // the other member's key
	Capabilities []string // empty: blocked
	Default      bool     // restore the default; Capabilities is ignored
}

// DecodeGrantSet reads a grant_set {pubkey, capabilities}. A null or absent
// capabilities restores the default.
func DecodeGrantSet(frame *Frame) (GrantSet, error) {
	f := fields{Frame: frame}
	m := GrantSet{Pubkey: f.need("pubkey"), Capabilities: f.strs("capabilities", MaxGroups)}
	m.Default = f.raw("capabilities") == nil
	return m, f.err
}

// AuditQuery asks for entries of the mesh's audit log, oldest first. The owner and
// admins may send it.
type AuditQuery struct {
	After int64 // only entries with a higher sequence number
	Limit int64 // 1-500; 0 means 100
	Last  int64 // 1-500: only the newest Last entries, whatever After says; 0 means unset
}

// DecodeAuditQuery reads an audit_query.
func DecodeAuditQuery(frame *Frame) (AuditQuery, error) {
	f := fields{Frame: frame}
	var m AuditQuery
	m.After, _ = f.integer("after")
	m.Limit, _ = f.integer("limit")
	m.Last, _ = f.integer("last")
	if m.After < 0 {
		f.fail("after", "at least 0")
	}
	if m.Limit < 0 || m.Limit > 500 {
		f.fail("limit", "0-500")
	}
	if m.Last < 0 || m.Last > 500 {
		f.fail("last", "0-500")
	}
	return m, f.err
}

// AuditEntries answers audit_query.
type AuditEntries struct {
	Type    string     `json:"type"`
	Entries []AuditRow `json:"entries"` // never nil
	ReqID   string     `json:"_reqId,omitempty"`
}

// AuditRow is one entry of the audit log. SPEC.md says how Hash is computed.
type AuditRow struct {
	Seq    int64           `json:"seq"`
	At     int64           `json:"at"` // Unix ms
	Kind   string          `json:"kind"`
	Actor  string          `json:"actor"`
	Detail json.RawMessage `json:"detail"`
	Prev   string          `json:"prev"` // 64 hex
	Hash   string          `json:"hash"` // 64 hex
}
