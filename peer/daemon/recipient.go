package daemon

import (
	"context"
	"time"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// recipient is the addressee of a message.
type recipient struct {
	target         wire.Target
	name           string
	member         wire.Key // zero for groups and if unknown
	proven         wire.Key // member if it vouches for the target, else zero
	verified       bool
	doubt          string
	known          bool // the roster knows the target
	status         wire.Status
	reason         string
	online, listed bool
	cannotRead     string // why none of its sessions can read; "" if one can
}

// resolve finds the recipient that a name means. A whole key needs no broker.
func (l *line) resolve(ctx context.Context, to string) (recipient, error) {
	if peer.IsGroupTarget(to) {
		target, err := wire.ParseTarget(to)
		if err != nil {
			return recipient{}, invalid("%q is not a valid recipient: %v", to, err)
		}
		return recipient{target: target, name: to}, nil
	}
	rows, members, known := l.joined.fresh(ctx)
	key, isKey := peer.WholeKey(to)
	if !known && !isKey {
		return recipient{}, unavailable("the broker of %s does not answer, so the daemon can't look up %q; a whole key works", l.mesh.Slug, to)
	}
	if !known {
		return recipient{target: wire.Target{Kind: wire.TargetKey, Key: key}, name: key.Short()}, nil
	}
	found, err := peer.Resolve(to, l.mesh.Member.Public(), rows, members, time.Now())
	if err != nil {
		return recipient{}, err
	}
	if err := l.d.contacts.Check(ctx, l.name.mesh, to, found, members); err != nil {
		return recipient{}, err
	}
	r := recipient{
		target: wire.Target{Kind: wire.TargetKey, Key: found.Key}, name: found.Name, member: found.Member,
		proven: found.Proven, verified: found.Verified, doubt: found.Doubt,
	}
	r.look(rows)
	return r, nil
}

// look fills in the recipient's status from its most available presence.
func (r *recipient) look(rows []wire.PeerRow) {
	r.known, r.cannotRead = true, unable(rows, r.target.Key)
	for i := range rows {
		row := &rows[i]
		if row.Pubkey != r.target.Key && row.MemberPubkey != r.target.Key {
			continue
		}
		r.listed = true
		if row.Online && (!r.online || r.status != wire.Idle) {
			r.online, r.status, r.reason = true, row.Status, row.StatusReason
		}
	}
}

// unable returns why the session with that key, or every session of the member with that key,
// can't read. It returns "" if one can.
func unable(rows []wire.PeerRow, key wire.Key) (why string) {
	for i := range rows {
		row := &rows[i]
		if row.PeerRole != wire.RoleSession || row.Pubkey != key && row.MemberPubkey != key {
			continue
		}
		if row.CannotRead == "" {
			return ""
		}
		why = row.CannotRead
	}
	return why
}

// note returns what the sender should know about the recipient.
func (r *recipient) note(p wire.Priority) string {
	if r.target.Kind != wire.TargetKey || !r.known {
		return ""
	}
	note := ""
	switch {
	case !r.online:
		note = "away: the message waits until they return"
	case r.cannotRead != "":
		note = CannotRead(r.name, r.cannotRead) + ": the message waits until they can"
	case p == wire.Now:
	case r.status == wire.DND:
		note = "in do-not-disturb: the message waits until it ends"
	case r.status == wire.Working && r.reason != "":
		note = "busy (" + r.reason + "): the message waits until they are free"
	case r.status == wire.Working:
		note = "busy: the message waits until they are free"
	}
	if !r.verified && r.doubt != "" {
		note = joinNotes(note, "not verified: "+r.doubt)
	}
	return note
}

// CannotRead says that a peer can't read, and why. Both arguments are the peer's own words.
func CannotRead(name, why string) string { return name + " can't read messages (" + why + ")" }
