package daemon

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/attention"
	"github.com/claudemesh/claudemesh/peer/daemon/store"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

// proc is a registered process.
type proc struct {
	store.Process // daemon.mu guards SessionID and Cleared; the rest is fixed

	// guarded by daemon.mu
	session *session
	since   time.Time  // when it began to run that session
	signs   signs      // of life
	earlier []*session // sessions that it ran before and whose end it has not reported
}

// session is a live session.
type session struct {
	// static
	d    *daemon
	id   string
	desk *attention.Desk
	mail chan struct{}   // capacity 1: there may be new mail
	ctx  context.Context // ends with the session
	over context.CancelFunc

	activeAt atomic.Int64 // Unix ns of the last activity
	pointers pointers

	// lines, by mesh id, change under daemon.changes and mu
	mu         sync.Mutex
	facts      store.Session // guarded by mu, except ID
	lines      map[string]*line
	state      state
	transcript string // the file of the conversation; "" until a hook reports it
	warnings   []string
	reach      reach
	cannotRead string // as peers see it; see reach

	told map[int64]bool // messages that the desk counts as unread; guarded by daemon.mail
}

// newSessionLocked creates a session with these facts and starts to watch its mail. The caller
// holds changes.
func (d *daemon) newSessionLocked(f store.Session) *session {
	s := &session{
		d: d, id: f.ID, mail: make(chan struct{}, 1), facts: f,
		lines: make(map[string]*line), state: newState(), told: make(map[int64]bool),
	}
	s.desk = attention.New(attention.Options{DND: f.DND, OnAnnounced: s.announced})
	s.ctx, s.over = context.WithCancel(d.ctx)
	s.activeAt.Store(f.Active.UnixNano())
	d.group.Go(s.mailLoop)
	s.kickMail()
	return s
}

// snapshot returns a copy of the facts.
func (s *session) snapshot() store.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.facts.Clone()
}

// isAs reports whether the live session has these facts. It ignores the last activity, which
// the daemon writes separately.
func (s *session) isAs(f *store.Session) bool {
	if s == nil {
		return false
	}
	now := s.snapshot()
	now.Active = f.Active
	return reflect.DeepEqual(now, *f)
}

func (s *session) setFacts(f store.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.facts = f
}

// liveLines returns the session's lines, sorted by slug.
func (s *session) liveLines() []*line {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*line, 0, len(s.lines))
	for _, l := range s.lines {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *line) int { return strings.Compare(a.mesh.Slug, b.mesh.Slug) })
	return list
}

// touch records activity. It revives lines that another connection replaced, and directs the
// member's mail to this session.
func (s *session) touch(now time.Time) {
	s.d.mu.Lock()
	for _, other := range s.d.sessions { // if the clock was set back, the others are in the future
		if at := time.Unix(0, other.activeAt.Load()); other != s && !at.Before(now) {
			now = at.Add(time.Millisecond)
		}
	}
	s.activeAt.Store(now.UnixNano())
	s.d.touched[s.id] = now
	turned := s.d.newest != s
	s.d.newest = s
	s.d.mu.Unlock()
	if turned {
		s.d.kickAllMail()
	}
	for _, l := range s.liveLines() {
		l.revive()
	}
}

// kickAllMail makes all sessions check for mail.
func (d *daemon) kickAllMail() {
	for _, s := range d.all() {
		s.kickMail()
	}
}

// kickMail makes the session check for new mail.
func (s *session) kickMail() { kick(s.mail) }

// kick puts a token into a channel of capacity 1 unless it already holds one.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// mailLoop reports unread mail to the desk. One check covers everything that has arrived since
// the last one.
func (s *session) mailLoop() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.mail:
		}
		if err := s.lookForMail(); err != nil && s.ctx.Err() == nil {
			s.d.log.Error("check for mail", "session", s.id, "error", err)
		}
	}
}

func (s *session) lookForMail() error {
	s.d.mail.Lock()
	defer s.d.mail.Unlock()
	var list []inbox.Unread
	for _, filter := range s.mailFilters() {
		found, err := s.d.inbox.Unread(s.ctx, filter)
		if err != nil {
			return err
		}
		list = append(list, found...)
	}
	slices.SortFunc(list, func(a, b inbox.Unread) int { return cmp.Compare(a.ID, b.ID) })
	unread := make(map[int64]bool, len(list))
	var fresh []attention.Message
	for i := range list {
		u := &list[i]
		unread[u.ID] = true
		if s.told[u.ID] {
			continue
		}
		pinned, err := s.d.pinnedName(s.ctx, u.MeshID, u.Member)
		if err != nil {
			return err
		}
		member := u.Member
		if !u.Verified {
			member = "" // unproven: any sender may have written it
		}
		fresh = append(fresh, attention.Message{ID: u.ID, Member: member, Name: u.Name, Pinned: pinned, Priority: u.Priority, Announced: u.Announced})
	}
	for id := range s.told {
		if !unread[id] { // read elsewhere, or now another session's
			s.desk.Checked(id)
		}
	}
	s.told = unread
	s.desk.Arrive(fresh...)
	return nil
}

// mailFilters returns filters for the mail that the session is told about: its own, and the
// member's in the meshes where this session was the last to be active.
func (s *session) mailFilters() []inbox.Filter {
	var own, both []string
	for _, mesh := range s.snapshot().Meshes {
		if s.d.lastActive(mesh) == s {
			both = append(both, mesh)
		} else {
			own = append(own, mesh)
		}
	}
	var filters []inbox.Filter
	if len(own) > 0 {
		filters = append(filters, inbox.Filter{Meshes: own, Session: s.id})
	}
	if len(both) > 0 {
		filters = append(filters, inbox.Filter{Meshes: both, Session: s.id, MemberMail: true})
	}
	return filters
}

// filter returns a filter for all mail that the session may fetch.
func (s *session) filter() inbox.Filter {
	f := s.snapshot()
	return inbox.Filter{Meshes: f.Meshes, Session: s.id, MemberMail: !f.Trial}
}

// announced records which messages the session has been told about.
func (s *session) announced(ids []int64) {
	if err := s.d.inbox.MarkAnnounced(s.d.writeContext(), ids, time.Now()); err != nil {
		s.d.log.Error("note announced messages", "session", s.id, "error", err)
	}
}

// warn adds a warning to the session's status, once.
func (s *session) warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 20
	if !slices.Contains(s.warnings, text) && len(s.warnings) < most {
		s.warnings = append(s.warnings, text)
	}
}

// update changes the facts, on disk first and then in memory.
func (s *session) update(change func(*store.Session)) error {
	s.d.changes.Lock()
	defer s.d.changes.Unlock()
	if s.ctx.Err() != nil {
		return errSessionOver
	}
	f := s.snapshot()
	change(&f)
	if err := s.d.store.PutSession(s.d.writeContext(), &f); err != nil {
		return err
	}
	s.setFacts(f)
	return nil
}

var errSessionOver = errors.New("the session has ended")

// lastActive returns the session that was the last to be active in a mesh, or nil if there is
// none. That session is told about the member's mail.
func (d *daemon) lastActive(mesh string) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	var last *session
	for _, s := range d.sessions {
		s.mu.Lock()
		in := slices.Contains(s.facts.Meshes, mesh) && !s.facts.Trial
		s.mu.Unlock()
		if in && (last == nil || s.activeAt.Load() > last.activeAt.Load()) {
			last = s
		}
	}
	return last
}

// all returns the live sessions.
func (d *daemon) all() []*session {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*session, 0, len(d.sessions))
	for _, s := range d.sessions {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *session) int { return strings.Compare(a.id, b.id) })
	return list
}

// pinnedName returns the name under which a member first became known, or "" if there is none.
func (d *daemon) pinnedName(ctx context.Context, mesh, member string) (string, error) {
	key, err := wire.ParseKey(member)
	if err != nil {
		return "", nil //nolint:nilerr // the sender's member is unknown
	}
	return d.contacts.Name(ctx, mesh, key)
}
