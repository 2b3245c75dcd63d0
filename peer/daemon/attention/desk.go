package attention

import (
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	burstPause = 250 * time.Millisecond // without a message, before a pointer goes out
	burstLimit = time.Second            // after the first message of a burst

	// startGrace is for pointers that cross with the start of a context: what was
	// announced within it is in the new one already.
	startGrace = 5 * time.Second
)

// Message is what a Desk knows of an unread message.
type Message struct {
	ID int64 // of the inbox; rises in the order of arrival
	// Member is the sender's member key. "": not known or not verified; all those
	// share one budget, or whoever makes up keys would have as many.
	Member    string
	Name      string // that the sender gives itself; hostile text is left out
	Pinned    string // by which the member is known; used when Name can't be
	Priority  wire.Priority
	Announced bool // the session was told of it before
}

// message is a Message at a Desk.
type message struct {
	Message
	announcedAt time.Time // the last time; zero: not by this Desk
	offer       *Offer    // the pointer that is on its way for it
	silent      bool      // until the user's next prompt: beyond its member's budget, or hushed
	reminded    bool      // told again after a turn in which it was not read
	free        bool      // a context has begun, or the user has written a prompt, since: no budget is asked
}

// causes reports whether a pointer is wanted for the message.
func (m *message) causes(dnd bool) bool {
	return !m.Announced && m.offer == nil && !m.silent && !(dnd && m.Priority != wire.Now)
}

// Options make a Desk.
type Options struct {
	DND bool // whether the session is in dnd at first
	// OnAnnounced is told of messages that have just been announced, before
	// Offer.Done returns. It may call the Desk. May be nil.
	OnAnnounced func(ids []int64)
}

// Desk decides when one session is told of its unread messages.
type Desk struct {
	onAnnounced func(ids []int64)

	mu      sync.Mutex
	dnd     bool
	closed  bool
	unread  map[int64]*message
	members map[string]*member
	subs    []*Subscription // attached, oldest first

	// due says that a burst is over and its pointer waits for a path. Before, the
	// timer runs.
	due        bool
	timer      *time.Timer
	burstStart time.Time // zero: no burst

	watched  bool   // somebody says when a turn runs
	working  bool   // one does
	unproven *Offer // the last that a path took into an idle session, until that shows a reaction
	reaction *time.Timer
}

// New returns the Desk of a session.
func New(o Options) *Desk {
	d := &Desk{
		onAnnounced: o.OnAnnounced,
		dnd:         o.DND,
		unread:      make(map[int64]*message),
		members:     make(map[string]*member),
	}
	d.timer = time.AfterFunc(time.Hour, d.burstOver)
	d.timer.Stop()
	d.reaction = time.AfterFunc(time.Hour, d.noReaction)
	d.reaction.Stop()
	return d
}

// Arrive adds unread messages: new ones, all of them when the daemon has
// restarted, and those that the model was not given after all. IDs that are there
// already are ignored.
func (d *Desk) Arrive(messages ...Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	wanted := false
	for _, m := range messages {
		if d.unread[m.ID] != nil {
			continue
		}
		added := &message{Message: m}
		d.unread[m.ID] = added
		if !m.Announced {
			d.memberLocked(m.Member).exchanged++
		}
		wanted = wanted || added.causes(d.dnd)
	}
	if wanted {
		d.burstLocked()
	}
}

// Checked removes messages that are no longer unread here: given to the model,
// expired, or moved to another session. IDs that are not there are ignored.
func (d *Desk) Checked(ids ...int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if d.unproven != nil && slices.Contains(d.unproven.covers, d.unread[id]) {
			d.provenLocked() // somebody has read it
		}
		delete(d.unread, id)
	}
}

// Hush keeps an unread message silent until the user's next prompt, or until another one
// causes a pointer: the user has stopped the model when it was about to read it.
func (d *Desk) Hush(id int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.unread[id]; m != nil {
		m.silent = true
	}
}

// SetDND begins or ends dnd. When it ends, what it has held is announced.
func (d *Desk) SetDND(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dnd != on {
		d.dnd = on
		d.reviewLocked()
	}
}

// Begin says that a context begins, or the rest of one: it knows of nothing, and is
// told of all that is unread, also of what was announced to an earlier one or kept
// silent. The pointer goes the way of all others, because nothing need happen in a
// context that has only begun: what stands in it may be seen by nobody for hours.
func (d *Desk) Begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	cutoff := time.Now().Add(-startGrace)
	for _, m := range d.unread {
		m.silent, m.free = false, true
		m.Announced = m.Announced && m.announcedAt.After(cutoff)
	}
	d.reviewLocked()
}

// HumanPrompt says that the user has written a prompt: what was silent may be
// announced, and the session may send again. Hook(HumanPrompt) includes it.
func (d *Desk) HumanPrompt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.humanLocked()
	d.reviewLocked()
}

func (d *Desk) humanLocked() {
	for _, m := range d.unread {
		m.silent, m.free = false, true
	}
	for _, s := range d.subs {
		s.doubtUntil = time.Time{}
	}
	for _, m := range d.members {
		m.sends, m.exchanged = bucket{}, 0
	}
}

// reviewLocked begins a burst if there is something to announce.
func (d *Desk) reviewLocked() {
	for _, m := range d.unread {
		if m.causes(d.dnd) {
			d.burstLocked()
			return
		}
	}
}

// burstLocked begins a burst or lets it go on.
func (d *Desk) burstLocked() {
	if d.closed {
		return
	}
	now := time.Now()
	if d.burstStart.IsZero() {
		d.burstStart = now
	}
	d.timer.Reset(min(burstPause, d.burstStart.Add(burstLimit).Sub(now)))
}

func (d *Desk) burstOver() {
	d.mu.Lock()
	defer d.mu.Unlock()
	// A pointer that went out in the meantime has ended the burst.
	if !d.burstStart.IsZero() && !d.closed {
		d.due = true
		d.nudgeLocked()
	}
}

// nudgeLocked makes the path that pointers go to look for one.
func (d *Desk) nudgeLocked() {
	if s := d.bestLocked(); s != nil {
		s.wake()
	}
}

// endBurstLocked is for when a pointer has taken all there is.
func (d *Desk) endBurstLocked() {
	d.due, d.burstStart = false, time.Time{}
	d.timer.Stop()
}

// Path returns the path that the next pointer takes: [local.PathHooks] while
// none is attached.
func (d *Desk) Path() local.Path {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.bestLocked(); s != nil {
		return s.path
	}
	return local.PathHooks
}

// Attached reports whether there is a path that can wake the session, in doubt or not.
func (d *Desk) Attached() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.subs) > 0
}

// Close ends all subscriptions. The Desk announces nothing any more.
func (d *Desk) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	d.endBurstLocked()
	d.provenLocked()
	for _, s := range d.subs {
		s.end(ErrClosed)
	}
	d.subs = nil
}
