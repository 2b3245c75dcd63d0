package daemon

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

const (
	// writeGrace is how long the program may take to write down what has just
	// happened in the conversation.
	writeGrace = time.Second
	// doubtAfter is when messages whose fate nobody tells are unread again.
	doubtAfter = 20 * time.Second
	// leaveGrace is how long a process may take to end once it has left its session.
	leaveGrace = 5 * time.Second
)

// take is a call that has handed out messages, of which it is not known whether they
// have come into the context. Only the conversation on disk can tell for sure: the user
// may stop the model, or somebody end the process, after the call has been answered.
type take struct {
	session, toolUse string
	at               time.Time
	process          process.ID // of the call; zero: not known, since the daemon began after it

	// guarded by takes.mu
	transcript string    // "": not known
	ended      time.Time // when its batch of tools was said to have ended; zero: not yet
}

// takes are the open ones.
type takes struct {
	judging sync.Mutex // held while one is decided, so that each is decided once

	mu   sync.Mutex
	open []*take // oldest first
}

func (ts *takes) add(t *take) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open = slices.DeleteFunc(ts.open, func(o *take) bool { return o.session == t.session && o.toolUse == t.toolUse })
	ts.open = append(ts.open, t)
}

func (ts *takes) remove(t *take) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.open = slices.DeleteFunc(ts.open, func(o *take) bool { return o == t })
}

// of returns the open takes of a session, "" for all.
func (ts *takes) of(session string) []*take {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(ts.open), func(t *take) bool { return session != "" && t.session != session })
}

// note keeps what a hook of a session tells of its calls.
func (ts *takes) note(session, transcript string, ended []string, now time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.open {
		if t.session != session {
			continue
		}
		if transcript != "" {
			t.transcript = transcript
		}
		if t.ended.IsZero() && slices.Contains(ended, t.toolUse) {
			t.ended = now
		}
	}
}

func (ts *takes) state(t *take) (transcript string, ended time.Time) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	return t.transcript, t.ended
}

// occasion is why takes are looked at.
type occasion int

const (
	byTheClock occasion = iota
	newTurn             // whatever ran before has ended
	leaving             // the process has left the session, and may write on until it ends
	farewell            // nobody writes to the conversation any more
)

// handedOut opens a take for the call.
func (d *daemon) handedOut(c *call, toolUse string, messages int) {
	if messages == 0 {
		return
	}
	t := &take{session: c.s.id, toolUse: toolUse, at: time.Now(), process: c.id, transcript: c.s.transcriptPath()}
	d.takes.add(t)
}

// transcriptPath is the file of the conversation, as the last hook had it.
func (s *session) transcriptPath() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transcript
}

// recallTakes opens those that an earlier daemon has left.
func (d *daemon) recallTakes() error {
	list, err := d.inbox.Taken(d.write())
	for _, t := range list {
		d.takes.add(&take{session: t.Session, toolUse: t.ToolUse, at: t.At})
	}
	return err
}

// judgeTakes decides what can be decided of the takes of a session, "" for all, and
// returns how many stay open.
func (d *daemon) judgeTakes(session string, why occasion) (open int, err error) {
	d.takes.judging.Lock()
	defer d.takes.judging.Unlock()
	var errs []error
	for _, t := range d.takes.of(session) {
		decided, err := d.judge(t, why, time.Now())
		if err != nil {
			errs = append(errs, err)
		}
		if decided {
			d.takes.remove(t)
		} else {
			open++
		}
	}
	return open, errors.Join(errs...)
}

// judge decides about a take, if it can: what the conversation shows is in the context,
// what it does not is unread. While it says nothing, neither is sure; and what stays so
// is unread too, marked as what the model may have seen.
func (d *daemon) judge(t *take, why occasion, now time.Time) (decided bool, err error) {
	list, err := d.inbox.TakenBy(d.write(), t.session, t.toolUse)
	if err != nil || len(list) == 0 {
		return err == nil, err
	}
	transcript, ended := d.takes.state(t)
	said := d.conversation(t, transcript, list)
	s := d.session(t.session)
	if why == byTheClock && t.over(s) {
		why = farewell
	}
	hasEnded := !ended.IsZero()
	switch {
	case said.Known:
		shown := func(m *inbox.Stored) bool { return slices.Contains(said.Shown, m.MessageID) }
		return true, d.settle(t, shown, false)
	case hasEnded && !said.Kept && (why == farewell || now.Sub(ended) > writeGrace):
		// No conversation is kept, so the end of the batch is all that will be known.
		return true, d.settle(t, everything, false)
	case why == farewell, why == newTurn && !hasEnded:
		return true, d.settle(t, nothing, true)
	case why == leaving:
		return false, nil
	case !hasEnded && said.Kept && s.restsSince(now.Add(-writeGrace)) && now.Sub(t.at) > writeGrace,
		now.Sub(t.at) > d.o.doubtAfter && s.restsSince(now.Add(-writeGrace)):
		// A conversation that never tells must not make the model read for ever: what it
		// has been handed twice, in batches that have ended, it has.
		again := func(m *inbox.Stored) bool { return hasEnded && m.MaybeSeen }
		return true, d.settle(t, again, true)
	}
	return false, nil
}

func everything(*inbox.Stored) bool { return true }
func nothing(*inbox.Stored) bool    { return false }

// conversation asks the program what it knows of the call.
func (d *daemon) conversation(t *take, transcript string, list []inbox.Stored) Answered {
	if d.o.Host == nil {
		return Answered{}
	}
	call := Call{SessionID: t.session, ToolUse: t.toolUse, Transcript: transcript}
	if s := d.session(t.session); s != nil {
		call.ConfigDir = s.snapshot().ConfigDir
	}
	for i := range list {
		call.Messages = append(call.Messages, list[i].MessageID)
	}
	return d.o.Host.Conversation(call)
}

// over reports whether the process of the call has ended.
func (t *take) over(s *session) bool {
	if t.process == (process.ID{}) || !t.process.Seen() {
		return s == nil
	}
	return !t.process.Alive()
}

// settle confirms the messages that have been shown, and makes the others unread.
func (d *daemon) settle(t *take, shown func(*inbox.Stored) bool, maybeSeen bool) error {
	now := time.Now()
	list, err := d.inbox.ConfirmTaken(d.write(), t.session, t.toolUse, shown, now)
	if err != nil {
		return err
	}
	if err := d.inContext(list, now); err != nil {
		return err
	}
	released, err := d.inbox.ReleaseTaken(d.write(), t.session, t.toolUse, maybeSeen)
	if err != nil || len(released) == 0 {
		return err
	}
	d.log.Info("messages that were handed out are unread again", "session", t.session, "messages", len(released), "maybeSeen", maybeSeen)
	s := d.session(t.session)
	if s != nil {
		err = s.lookForMail()
	}
	if s != nil && !maybeSeen {
		// The user has stopped the model at it. To wake it at once would be no answer to that.
		for i := range released {
			s.desk.Hush(released[i].ID)
		}
	}
	d.kickAllMail()
	return err
}

// restsSince reports whether the session has been idle since then; one that is over
// has.
func (s *session) restsSince(t time.Time) bool {
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Status == wire.Idle && !s.state.since.After(t)
}

// followTakes looks for a moment whether the program writes down what it has just said.
func (s *session) followTakes() {
	const looks, pause = 10, 100 * time.Millisecond
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for range looks {
		open, err := s.d.judgeTakes(s.id, byTheClock)
		if err != nil {
			s.d.log.Error("find out whether messages reached the context", "session", s.id, "error", err)
		}
		if open == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// awaitTakes waits until it is known what became of the takes of a session that its
// last process has left.
func (s *session) awaitTakes(last process.ID) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(leaveGrace); len(s.d.takes.of(s.id)) > 0; {
		why := leaving
		if time.Now().After(deadline) || !last.Alive() {
			why = farewell
		}
		open, err := s.d.judgeTakes(s.id, why)
		if err != nil {
			s.d.log.Error("find out whether messages reached the context", "session", s.id, "error", err)
		}
		if open == 0 || why == farewell {
			return
		}
		select {
		case <-tick.C:
		case <-s.d.ctx.Done():
			return // the next daemon does it
		}
	}
}
