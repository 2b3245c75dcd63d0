package attention

import (
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	burstPause = 250 * time.Millisecond // wait without a further message before a pointer
	burstLimit = time.Second            // longest wait after the first message of a burst

	// startGrace covers pointers that cross with the start of a context. The new context
	// already contains what was announced within startGrace.
	startGrace = 5 * time.Second
)

// Message is what a Desk knows about an unread message.
type Message struct {
	ID int64 // of the inbox; increases in the order of arrival
	// Member is the sender's member key, or "" if it is unknown or unverified. All senders
	// without a key share one budget. Otherwise made-up keys would each get their own.
	Member    string
	Name      string // chosen by the sender; pointers omit hostile names
	Pinned    string // known name of the member; used if Name is unusable
	Priority  wire.Priority
	Announced bool // the session was told about it earlier
}

// message is a Message at a Desk.
type message struct {
	Message
	announcedAt time.Time // the last time; zero if not by this Desk
	offer       *Offer    // the pending pointer that covers it
	silent      bool      // until the user's next prompt: over budget or hushed
	reminded    bool      // announced again after a turn that did not read it
	free        bool      // needs no budget: a new context or user prompt came after it
}

// causes reports whether a pointer should announce the message.
func (m *message) causes(dnd bool) bool {
	return !m.Announced && m.offer == nil && !m.silent && !(dnd && m.Priority != wire.Now)
}

// Options configure a Desk.
type Options struct {
	DND bool // whether the session starts in dnd
	// OnAnnounced is called with messages that have just been announced, before Offer.Done
	// returns. It may call the Desk. It may be nil.
	OnAnnounced func(ids []int64)
}

// Desk decides when to tell one session about its unread messages.
type Desk struct {
	onAnnounced func(ids []int64)

	mu      sync.Mutex
	dnd     bool
	closed  bool
	unread  map[int64]*message
	members map[string]*member
	subs    []*Subscription // attached, oldest first

	// due means that a burst is over and its pointer waits for a path. Until then, the timer
	// runs.
	due        bool
	timer      *time.Timer
	burstStart time.Time // zero if there is no burst

	watched  bool   // the owner reports turns
	working  bool   // a turn runs
	unproven *Offer // the last pointer into the idle session, until the session reacts
	reaction *time.Timer
}

// New returns a Desk for one session.
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

// Arrive adds unread messages: new ones, all of them after a restart of the daemon, and those
// that did not reach the model after all. It ignores messages that are already there.
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

// Checked removes messages that are no longer unread here: the model got them, they expired, or
// they moved to another session. It ignores unknown IDs.
func (d *Desk) Checked(ids ...int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if d.unproven != nil && slices.Contains(d.unproven.covers, d.unread[id]) {
			d.provenLocked() // the model has read it
		}
		delete(d.unread, id)
	}
}

// Hush keeps an unread message silent until the user's next prompt or until another message
// causes a pointer. Use it if the user stopped the model when it was about to read the message.
func (d *Desk) Hush(id int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m := d.unread[id]; m != nil {
		m.silent = true
	}
}

// SetDND starts or ends dnd. At the end, the Desk announces the messages that dnd held back.
func (d *Desk) SetDND(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dnd != on {
		d.dnd = on
		d.reviewLocked()
	}
}

// Begin reports the start of a context, or of what remains of one. The new context knows of no
// message, so the Desk announces all unread ones again, including those announced earlier or
// kept silent. The pointer takes the usual path rather than going into the start of the
// context, where nobody may see it for hours.
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

// HumanPrompt reports that the user has written a prompt. The Desk may announce silent messages
// again, and the session may send again. Hook(HumanPrompt) includes it.
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

// reviewLocked starts a burst if there is something to announce.
func (d *Desk) reviewLocked() {
	for _, m := range d.unread {
		if m.causes(d.dnd) {
			d.burstLocked()
			return
		}
	}
}

// burstLocked starts or extends a burst.
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

// nudgeLocked wakes the path that the next pointer takes.
func (d *Desk) nudgeLocked() {
	if s := d.bestLocked(); s != nil {
		s.wake()
	}
}

// endBurstLocked ends a burst after a pointer has covered all messages.
func (d *Desk) endBurstLocked() {
	d.due, d.burstStart = false, time.Time{}
	d.timer.Stop()
}

// Path returns the path that the next pointer takes. It is [local.PathHooks] if none is
// attached.
func (d *Desk) Path() local.Path {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.bestLocked(); s != nil {
		return s.path
	}
	return local.PathHooks
}

// Attached reports whether a path that can wake the session is attached, in doubt or not.
func (d *Desk) Attached() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.subs) > 0
}

// Close ends all subscriptions. After that, the Desk announces nothing.
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
