package broker

import (
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// untold is a change of a presence that its peers have not been told of yet.
type untold struct {
	visible bool // whether it was visible when they were last told
	profile bool // the profile changed
}

// departedLocked announces that a presence has ended. If it can't come back, its messages
// are given up.
func (r *room) departedLocked(p *presence.Presence[*conn], but ...*presence.Presence[*conn]) {
	known := p.Visible
	if u, ok := r.untold[p]; ok {
		known = u.visible
		delete(r.untold, p)
	}
	if known {
		r.announceLocked(p, wire.EventPeerLeft, wire.EventData{Name: p.DisplayName, Pubkey: p.Key()}, p.Proven, but...)
	}
	r.record(p, audit.PeerLeftDetail{Presence: p.ID, Member: p.MemberID, Key: p.Key()})
	if !p.Identity.Returns() {
		r.queue.End(r.mailboxLocked(p))
	}
}

// replacedLocked announces that a presence has ended in favour of its successor, and closes
// its connection.
func (r *room) replacedLocked(old presence.Ended[*conn], by *presence.Presence[*conn]) {
	r.departedLocked(old.Presence, by)
	if old.Conn != nil {
		old.Conn.end(endReplaced, wire.CloseNormal, wire.ReasonReplaced)
	}
}

func (r *room) announceArrivalLocked(p *presence.Presence[*conn], restored *presence.Restored) {
	groups := orEmpty(p.Groups)
	data := wire.EventData{Name: p.DisplayName, Pubkey: p.Key(), Groups: &groups}
	event := wire.EventPeerJoined
	if restored != nil {
		event = wire.EventPeerReturned
		data.LastSeenAt, data.Summary = &wire.Time{Time: restored.LastSeenAt}, restored.Summary
		r.record(p, audit.PeerReturnedDetail{Presence: p.ID, Member: p.MemberID, Key: p.Key()})
	} else {
		r.record(p, audit.PeerJoinedDetail{Presence: p.ID, Member: p.MemberID, Key: p.Key()})
	}
	if p.Visible {
		r.announceLocked(p, event, data, p.Proven)
	}
}

// announceLocked announces an event about p to the other presences, except those in but, once
// the room is unlocked. The presences of p's own member are told only if toOwn.
func (r *room) announceLocked(p *presence.Presence[*conn], kind string, data wire.EventData, toOwn bool, but ...*presence.Presence[*conn]) {
	r.news.add(&event{
		about: p, member: p.MemberKey, own: toOwn, but: but, kind: kind, data: data, at: time.Now(),
	}, r.presences.Version())
}

// postponeLocked leaves the announcement of a change to the next sweep, so that a presence
// that changes all the time is announced once a second.
func (r *room) postponeLocked(p *presence.Presence[*conn], visible, profile bool) {
	u, ok := r.untold[p]
	if !ok {
		u.visible = visible
	}
	u.profile = u.profile || profile
	r.untold[p] = u
}

// announceChangesLocked announces what was postponed.
func (r *room) announceChangesLocked() {
	for p, u := range r.untold {
		data := wire.EventData{Name: p.DisplayName, Pubkey: p.Key()}
		switch {
		case u.visible && !p.Visible:
			r.announceLocked(p, wire.EventPeerHidden, data, true)
		case !u.visible && p.Visible:
			r.announceLocked(p, wire.EventPeerVisible, data, true)
		}
		switch {
		case u.profile && !p.Visible:
			r.untold[p] = untold{profile: true} // until it is shown
			continue
		case u.profile:
			data.Profile = p.Profile
			r.announceLocked(p, wire.EventProfileUpdated, data, true)
		}
		delete(r.untold, p)
	}
}

func (r *room) record(p *presence.Presence[*conn], detail audit.Detail) {
	r.broker.journal.Record(audit.NewEvent(r.id, time.Now(), p.MemberID.String(), detail))
}
