package wire

// With the messages in this file the owner and admins remove peers: kick and
// disconnect end a peer's connection, ban keeps a member out until unban.

// Types of the moderation messages and of their answers.
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

// Close reasons for the connections of a peer that is kicked or disconnected.
const (
	ReasonKicked            = "kicked"
	ReasonKickedStale       = "kicked_stale"
	ReasonDisconnected      = "disconnected"
	ReasonDisconnectedStale = "disconnected_stale"
)

// MaxModerationReason bounds the reason of a kick or ban, in bytes.
const MaxModerationReason = 200

// SendAway is a kick or a disconnect. Exactly one of Target, Stale and All is set.
type SendAway struct {
	Target string // a display name, a key, or the start of a key
	Stale  int64  // presences that have been silent for so many milliseconds
	All    bool   // all presences
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
		f.fail("target", "set, or else stale or all: exactly one of the three")
	}
	if m.Stale < 0 {
		f.fail("stale", "a positive number of milliseconds")
	}
	return m, f.err
}

// SentAway answers a kick or disconnect. Its lists hold display names.
type SentAway struct {
	Type     string   `json:"type"`
	Kicked   []string `json:"kicked"`   // the peers whose connections ended; never nil
	Affected []string `json:"affected"` // the same as Kicked
	// SkippedControlPlane lists peers that a kick spares because they aren't sessions.
	SkippedControlPlane []string `json:"skipped_control_plane,omitempty"`
	ReqID               string   `json:"_reqId,omitempty"`
}

// Ban is a ban or an unban of a member.
type Ban struct {
	Target string // the display name of a member or of a presence, a key, or the start of a key
	Reason string // extension, ban only: for the member to read
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

// BanAck answers a ban, UnbanAck an unban.
type (
	BanAck struct {
		Type   string `json:"type"`
		Banned string `json:"banned"` // the member's display name
		Pubkey Key    `json:"pubkey"` // extension: the member's key
		ReqID  string `json:"_reqId,omitempty"`
	}
	UnbanAck struct {
		Type     string `json:"type"`
		Unbanned string `json:"unbanned"` // the member's display name
		Pubkey   Key    `json:"pubkey"`   // extension: the member's key
		ReqID    string `json:"_reqId,omitempty"`
	}
)

// BanList answers list_bans.
type BanList struct {
	Type  string   `json:"type"`
	Bans  []BanRow `json:"bans"` // never nil
	ReqID string   `json:"_reqId,omitempty"`
}

// BanRow is one banned member.
type BanRow struct {
	Name      string `json:"name"`
	Pubkey    Key    `json:"pubkey"`
	RevokedAt Time   `json:"revokedAt"`
	Reason    string `json:"reason,omitempty"` // extension
}
