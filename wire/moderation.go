package wire

// The messages of this file let the owner and admins send peers away: kick and
// disconnect for the moment, ban until unban.

// Types of the messages and of their answers.
const (
	TypeKick           = "kick"
	TypeDisconnect     = "disconnect"
	TypeBan            = "ban"
	TypeUnban          = "unban"
	TypeListBans       = "list_bans"
	TypeKickAck        = "kick_ack"
	TypeDisconnectAck  = "disconnect_ack"
	TypeBanAck         = "ban_ack"
	TypeUnbanAck       = "unban_ack"
	TypeListBansResult = "list_bans_result"
)

// Reasons of a close that ends the connections of who is sent away.
const (
	ReasonKicked            = "kicked"
	ReasonKickedStale       = "kicked_stale"
	ReasonDisconnected      = "disconnected"
	ReasonDisconnectedStale = "disconnected_stale"
)

// MaxModerationReason bounds the reason of a kick or ban, in bytes.
const MaxModerationReason = 200

// SendAway is a kick or a disconnect: of whom Target names, of presences that have
// been silent for Stale, or of all.
type SendAway struct {
	Target string // a display name, a key, or the start of a key; "" for none
	Stale  int64  // ms; 0 for none
	All    bool
	Reason string // extension: for the peer to read
}

// DecodeSendAway reads a kick or disconnect.
func DecodeSendAway(frame *Frame) (SendAway, error) {
	f := fields{Frame: frame}
	m := SendAway{Target: f.bounded("target", MaxNameLen), Reason: f.bounded("reason", MaxModerationReason)}
	m.Stale, _ = f.integer("stale")
	m.All, _ = f.boolean("all")
	chosen := 0
	for _, given := range []bool{m.Target != "", m.Stale != 0, m.All} {
		if given {
			chosen++
		}
	}
	if chosen != 1 {
		f.fail("target", "given, or stale, or all: one of these")
	}
	if m.Stale < 0 {
		f.fail("stale", "a time in ms")
	}
	return m, f.err
}

// SentAway answers a kick or disconnect with the display names of the peers.
type SentAway struct {
	Type     string   `json:"type"`
	Kicked   []string `json:"kicked"`   // never nil
	Affected []string `json:"affected"` // the same
	// SkippedControlPlane are those that a kick has left alone, since they are no
	// sessions.
	SkippedControlPlane []string `json:"skipped_control_plane,omitempty"`
	ReqID               string   `json:"_reqId,omitempty"`
}

// Ban bars a member, or lets it in again.
type Ban struct {
	Target string // the display name of a member or of a presence, a key, or the start of one
	Reason string // extension, of a ban: for the member to read
}

// DecodeBan reads a ban or unban.
func DecodeBan(frame *Frame) (Ban, error) {
	f := fields{Frame: frame}
	m := Ban{Target: f.need("target"), Reason: f.bounded("reason", MaxModerationReason)}
	if m.Target == "" || len(m.Target) > MaxNameLen {
		f.fail("target", "a name or a key")
	}
	return m, f.err
}

// BanAck answers a ban, UnbanAck an unban, with the member's display name.
type (
	BanAck struct {
		Type   string `json:"type"`
		Banned string `json:"banned"`
		Pubkey Key    `json:"pubkey"` // extension: the member's
		ReqID  string `json:"_reqId,omitempty"`
	}
	UnbanAck struct {
		Type     string `json:"type"`
		Unbanned string `json:"unbanned"`
		Pubkey   Key    `json:"pubkey"` // extension: the member's
		ReqID    string `json:"_reqId,omitempty"`
	}
)

// BanList answers list_bans.
type BanList struct {
	Type  string   `json:"type"`
	Bans  []BanRow `json:"bans"` // never nil
	ReqID string   `json:"_reqId,omitempty"`
}

// BanRow is one member who is barred until somebody takes that back.
type BanRow struct {
	Name      string `json:"name"`
	Pubkey    Key    `json:"pubkey"`
	RevokedAt Time   `json:"revokedAt"`
	Reason    string `json:"reason,omitempty"` // extension
}
