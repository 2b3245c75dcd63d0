package broker

import (
	"time"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/presence"
	"github.com/claudemesh/claudemesh/wire"
)

// untold is what others don't know of a presence yet.
type untold struct {
	visible bool // whether it is, as they know it
	profile bool // it has another one
}

// departedLocked tells of a presence that has ended, and gives up what can't come back
// for its messages.
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

// replacedLocked tells of a presence that has ended because its successor came, and ends
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

// announceLocked has the other presences but some be told of p when the room is unlocked;
// those of its own member only if toOwn.
func (r *room) announceLocked(p *presence.Presence[*conn], kind string, data wire.EventData, toOwn bool, but ...*presence.Presence[*conn]) {
	r.news.add(&event{
		about: p, member: p.MemberKey, own: toOwn, but: but, kind: kind, data: data, at: time.Now(),
	}, r.presences.Version())
}

// postponeLocked notes what others are to be told of p with the next sweep: someone who
// changes all the time is news once a second.
func (r *room) postponeLocked(p *presence.Presence[*conn], visible, profile bool) {
	u, ok := r.untold[p]
	if !ok {
		u.visible = visible
	}
	u.profile = u.profile || profile
	r.untold[p] = u
}

// announceChangesLocked tells what was postponed.
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
