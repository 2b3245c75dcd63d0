package attention

import "time"

const (
	// reactionTime is how long an idle session may take to react to a pointer. It normally
	// starts a turn within a second, and within a few on a busy machine.
	reactionTime = 10 * time.Second
	// The Desk avoids a path without a reaction for a while, which doubles each time.
	firstDoubt, longestDoubt = time.Minute, 32 * time.Minute
)

// Working reports whether a turn is running. The start of a turn proves that the last pointer
// arrived. If nobody calls Working, the Desk trusts all paths.
func (d *Desk) Working(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watched, d.working = true, on
	if on {
		d.provenLocked()
	}
}

// TurnOver reports that the model has ended a turn. The Desk announces once more what the model
// has not read, since the first pointer may have come at a bad moment or not at all.
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

// Retell announces unread messages again. Use it when the user writes a prompt after their first
// pointer, since the user may have stopped the model before it could read them.
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

// noReaction moves the messages of the last pointer to the next path, since the pointer seems
// to have reached nobody.
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

// doubt makes the Desk avoid a subscription for a while.
func (s *Subscription) doubt(now time.Time) {
	pause := min(firstDoubt<<s.doubts, longestDoubt)
	s.doubts = min(s.doubts+1, 10)
	s.doubtUntil = now.Add(pause)
	s.doubtOver.Reset(pause)
}

// nudge wakes the path that the next pointer takes. The subscription's time of doubt is over.
func (s *Subscription) nudge() {
	s.desk.mu.Lock()
	defer s.desk.mu.Unlock()
	if s.why == nil {
		s.desk.nudgeLocked()
	}
}
