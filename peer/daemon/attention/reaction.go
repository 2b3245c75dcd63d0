package attention

import (
	"slices"
	"time"
)

const (
	// reactionTime is how long an idle session may take to react to a pointer: it begins
	// a turn within a second, on a busy machine within a few.
	reactionTime = 10 * time.Second
	// A path that led to no reaction is passed over for a while, which doubles each time.
	firstDoubt, longestDoubt = time.Minute, 32 * time.Minute
)

// Working says whether a turn runs in the session. One that begins shows that the last
// pointer has arrived. Without a word of that, all paths are trusted.
func (d *Desk) Working(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched, d.working = true, on
	if on {
		d.provenLocked()
	}
}

// TurnOver says that the model has ended a turn. What it was told of and has not read is
// announced once more, since it may have been told at a bad moment, or in vain.
func (d *Desk) TurnOver() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.unread {
		if m.Announced && !m.silent && !m.reminded && !m.announcedAt.IsZero() {
			m.Announced, m.reminded, m.free = false, true, true
		}
	}
	d.reviewLocked()
}

// Retell is for a prompt that comes after what was announced: it tells again of what is
// still unread. The user may have stopped the model before it could read.
func (d *Desk) Retell() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.unread {
		if m.Announced {
			m.Announced, m.free = false, true
		}
	}
}

// provenLocked ends the wait for a reaction to the last pointer.
func (d *Desk) provenLocked() {
	if d.unproven != nil {
		d.unproven.sub.doubts = 0
	}
	d.unproven = nil
	d.reaction.Stop()
}

// noReaction has the next path tell what the last one has told nobody, as it seems.
func (d *Desk) noReaction() {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.unproven
	d.unproven = nil
	if o == nil || d.closed || !d.watched {
		return
	}
	o.sub.doubt(time.Now())
	for _, m := range o.covers {
		if d.unread[m.ID] == m && m.Announced {
			m.Announced, m.free = false, true
		}
	}
	if len(d.waitingLocked()) > 0 {
		d.due = true
		d.nudgeLocked()
	}
}

// doubt passes a subscription over for a while, after which it is tried again.
func (s *Subscription) doubt(now time.Time) {
	pause := min(firstDoubt<<s.doubts, longestDoubt)
	s.doubts = min(s.doubts+1, 10)
	s.doubtUntil = now.Add(pause)
	time.AfterFunc(pause, func() {
		s.desk.mu.Lock()
		defer s.desk.mu.Unlock()
		if slices.Contains(s.desk.subs, s) {
			s.desk.nudgeLocked()
		}
	})
}
