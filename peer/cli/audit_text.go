package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// memberNames looks up the names of members by their ids.
type memberNames struct {
	members map[wire.ID]*wire.MemberRow
	bearers map[string]int // number of members with the name
	own     wire.Key
}

func newMemberNames(members []wire.MemberRow, own wire.Key) memberNames {
	n := memberNames{make(map[wire.ID]*wire.MemberRow, len(members)), make(map[string]int), own}
	for i := range members {
		n.members[members[i].ID] = &members[i]
		n.bearers[members[i].DisplayName]++
	}
	return n
}

// of returns an unambiguous name of a member. It marks the user's own.
func (n *memberNames) of(id wire.ID) string {
	m := n.members[id]
	if m == nil {
		return "the member " + peer.ShortID(id.String())
	}
	name := memberName(nil, m.Pubkey, m.DisplayName)
	if n.bearers[m.DisplayName] > 1 {
		name += " (" + m.Pubkey.Short() + ")"
	}
	if m.Pubkey == n.own {
		name += " (you)"
	}
	return name
}

// actor returns the name of an entry's actor.
func (n *memberNames) actor(text string) string {
	if text == audit.Broker {
		return "the broker"
	}
	id, err := wire.ParseID(text)
	if err != nil {
		return text
	}
	return n.of(id)
}

// auditFacts is the union of the details of all kinds of entries.
type auditFacts struct {
	Slug       string        `json:"slug"`
	Member     wire.ID       `json:"member"`
	Role       string        `json:"role"`
	Invite     wire.ID       `json:"invite"`
	From       string        `json:"from"`
	To         string        `json:"to"`
	Kind       string        `json:"kind"`
	Uses       int64         `json:"uses"`
	ExpiresAt  int64         `json:"expires_at"`
	Message    wire.ID       `json:"message"`
	Target     audit.Target  `json:"target"`
	Recipients int           `json:"recipients"`
	Bytes      int           `json:"bytes"`
	Priority   wire.Priority `json:"priority"`
	Size       int64         `json:"size"`
}

// auditText describes an entry in a sentence, without a period.
func auditText(row *wire.AuditRow, names *memberNames, now time.Time) string {
	var d auditFacts
	if err := json.Unmarshal(row.Detail, &d); err != nil {
		return fmt.Sprintf("%s by %s: %s", row.Kind, names.actor(row.Actor), row.Detail)
	}
	who, whom := names.actor(row.Actor), names.of(d.Member)
	invite := "the invite " + peer.ShortID(d.Invite.String())
	switch audit.Kind(row.Kind) {
	case audit.MeshCreated:
		return who + " created the mesh " + d.Slug
	case audit.MemberJoined:
		if d.Invite == (wire.ID{}) {
			return whom + " joined as " + d.Role
		}
		return whom + " joined as " + d.Role + " with " + invite
	case audit.MemberRemoved:
		if row.Actor == d.Member.String() {
			return who + " left the mesh"
		}
		return who + " removed " + whom
	case audit.MemberBanned:
		return who + " banned " + whom
	case audit.MemberUnbanned:
		return who + " let " + whom + " in again"
	case audit.RoleChanged:
		return fmt.Sprintf("%s made %s %s (before: %s)", who, whom, d.To, d.From)
	case audit.InviteCreated:
		return fmt.Sprintf("%s made %s: %s, as %s, valid until %s", who, invite, times(d.Uses), d.Role, timeText(time.UnixMilli(d.ExpiresAt), now))
	case audit.InviteRevoked:
		return who + " revoked " + invite
	case audit.PeerJoined:
		return whom + " connected"
	case audit.PeerReturned:
		return whom + " came back"
	case audit.PeerLeft:
		return whom + " disconnected"
	case audit.PeerKicked:
		return who + " kicked " + whom
	case audit.LogRestored:
		return fmt.Sprintf("the broker was restored from a backup; what it did after entry %d, until now, is not in this log", d.Size)
	case audit.Routed:
		text := fmt.Sprintf("%s sent the message %s %s, %d bytes", who, peer.ShortID(d.Message.String()), routedTo(&d), d.Bytes)
		if d.Priority != wire.Next && d.Priority != "" {
			text += ", priority " + string(d.Priority)
		}
		return text
	}
	return fmt.Sprintf("%s by %s: %s", row.Kind, who, row.Detail)
}

func routedTo(d *auditFacts) string {
	reached := strconv.Itoa(d.Recipients) + " recipients"
	if d.Recipients == 1 {
		reached = "1 recipient"
	}
	switch d.Target {
	case audit.Direct:
		return "to one peer"
	case audit.Group:
		return "to a group, " + reached
	case audit.Topic:
		return "to a topic, " + reached
	case audit.All:
		return "to everybody, " + reached
	}
	return "to several, " + reached
}

// times writes a number of uses.
func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return strconv.FormatInt(n, 10) + " times"
}

// concerns reports whether an entry is about a member or was caused by it.
func concerns(row *wire.AuditRow, member wire.ID) bool {
	var d auditFacts
	return row.Actor == member.String() || json.Unmarshal(row.Detail, &d) == nil && d.Member == member
}
