package presence

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// errTooManyGroups is returned by JoinGroup beyond wire.MaxGroups.
var errTooManyGroups = errors.New("too many groups")

// Touch records a sign of life of the peer itself: it sent a message or changed its
// profile. What its daemon does on its own (pongs, acknowledgements, regular stats) does
// not count.
func (r *Room[C]) Touch(p *Presence[C], now time.Time) {
	// Not worth a write: it is stored along with the next change.
	if r.live(p) {
		p.LastActive = now
		p.LastSeenAt = now
		r.mayBeHome(p)
	}
}

// SetSummary changes the summary and reports whether it was different.
func (r *Room[C]) SetSummary(p *Presence[C], summary string) bool {
	if p.Summary == summary {
		return false
	}
	p.Summary = summary
	r.changed(p)
	return true
}

// SetCannotRead sets why p can't read its messages, "" if it can. It is not stored.
func (r *Room[C]) SetCannotRead(p *Presence[C], why string) {
	if p.CannotRead != why && r.live(p) {
		p.CannotRead = why
		r.advance(p)
	}
}

// SetProfile changes the profile; nil removes it. The profile must not be changed
// afterwards.
func (r *Room[C]) SetProfile(p *Presence[C], profile *wire.Profile) {
	p.Profile = profile
	r.changed(p)
}

// SetStats changes the stats, which must not be changed afterwards.
func (r *Room[C]) SetStats(p *Presence[C], stats json.RawMessage) {
	if bytes.Equal(p.Stats, stats) {
		return // clients repeat them every minute
	}
	p.Stats = stats
	r.changed(p)
}

// SetVisible shows or hides p and reports whether that is a change.
func (r *Room[C]) SetVisible(p *Presence[C], visible bool) bool {
	if p.Visible == visible {
		return false
	}
	p.Visible = visible
	r.changed(p)
	p.hiddenAt = 0
	if !visible {
		p.hiddenAt = p.version
	}
	return true
}

// JoinGroup adds p to a group, or changes its role there. It returns an error if p is in
// wire.MaxGroups other groups.
func (r *Room[C]) JoinGroup(p *Presence[C], g wire.Group) error {
	groups := slices.Clone(p.Groups)
	switch i := indexGroup(groups, g.Name); {
	case i >= 0:
		groups[i].Role = g.Role
	case len(groups) >= wire.MaxGroups:
		return errTooManyGroups
	default:
		groups = append(groups, g)
	}
	r.setGroups(p, groups)
	return nil
}

// LeaveGroup removes p from a group and reports whether it was in it.
func (r *Room[C]) LeaveGroup(p *Presence[C], name string) bool {
	i := indexGroup(p.Groups, name)
	if i < 0 {
		return false
	}
	r.setGroups(p, slices.Delete(slices.Clone(p.Groups), i, i+1))
	return true
}

func (r *Room[C]) setGroups(p *Presence[C], groups []wire.Group) {
	if !r.live(p) {
		return
	}
	r.unlink(p)
	p.Groups = groups
	r.link(p)
	r.changed(p)
}
