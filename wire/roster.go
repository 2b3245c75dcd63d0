package wire

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
)

// PeersList answers list_peers.
type PeersList struct {
	Type  string    `json:"type"`
	Peers []PeerRow `json:"peers"` // never nil
	ReqID string    `json:"_reqId,omitempty"`
	// Extensions. Version names the state of the roster, for a later list_peers. When
	// Since is set, it repeats the request's version: Peers holds only the rows that
	// changed since then, and Gone lists the presences to remove. When Since is "",
	// Peers is the whole roster.
	Version string `json:"version,omitempty"`
	Since   string `json:"since,omitempty"`
	Gone    []ID   `json:"gone,omitempty"`
}

// Roles of a presence.
const (
	RoleControlPlane = "control-plane"
	RoleSession      = "session"
)

// PeerRow is one presence.
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
	Online     bool `json:"online"` // false: the socket is gone, but the lease still runs
	// MemberRole is the member's role in the mesh.
	MemberRole string `json:"memberRole,omitempty"`
	// SealedGroups reports whether the client announced CapSealedGroups.
	SealedGroups bool `json:"sealedGroups,omitempty"`
	// StatusReason is the reason that the peer set with its status, e.g. "waiting".
	StatusReason string `json:"statusReason,omitempty"`
	// CannotRead is the peer's explanation of why it can't read its messages.
	CannotRead string `json:"cannotRead,omitempty"`
	// Attestation is the member's attestation of a session key; nil for a member key.
	Attestation *Attestation `json:"attestation,omitempty"`
}

// AppendJSON appends the list to b. A roster may have thousands of rows, and
// encoding/json takes several times as long.
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
	if err != nil { // can't happen: a profile holds only strings
		return append(b, "null"...)
	}
	return append(b, text...)
}

// RosterChanged tells a client with CapRosterChanged that peers joined, left or
// changed since it last asked for the roster. Version is as in PeersList.
type RosterChanged struct {
	Type    string `json:"type"`
	Version string `json:"version"`
}
